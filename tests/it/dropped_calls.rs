//! Calls that are cancelled before their answer comes.

use countersign::grpc::proto::*;
use tonic::Code;

use crate::support::calls::{PASSWORD, login_request, register_request};
use crate::support::{World, on_each_engine, reason};

/// Drops the call after `turns` turns of the runtime; returns its answer if it came before.
async fn drop_after<T>(turns: usize, call: impl Future<Output = T>) -> Option<T> {
    let turns = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        answer = call => Some(answer),
        () = turns => None,
    }
}

#[tokio::test]
async fn a_refresh_that_is_cancelled_leaves_the_session_consistent() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let mut dropped = 0;
        for round in 0..60 {
            let first = world.mint(&user.id).await;
            let given = drop_after(round * round / 4, world.refresh(&first.refresh_token)).await;
            let second = world
                .refresh(&first.refresh_token)
                .await
                .expect("the successor, whatever became of the call before");
            if let Some(given) = given {
                assert_eq!(
                    given.expect("the next pair").refresh_token,
                    second.refresh_token
                );
            } else {
                dropped += 1;
            }
            assert!(world.verdict(&second.access_token).await.0);
            let generation = format!(
                "SELECT generation FROM sessions WHERE id = '{}'",
                first.session_id
            );
            assert_eq!(engine.number(&generation).await, 2);
        }
        assert!(dropped > 3, "{dropped}");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_registration_that_is_cancelled_creates_a_complete_account_or_none() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        world.secret(PASSWORD);
        let mut dropped = 0;
        for round in 0..16_usize {
            let email = format!("user{round}@example.com");
            let (mut auth, mut again) = (world.auth(), world.auth());
            dropped += usize::from(
                drop_after(round * round * 4, auth.register(register_request(&email)))
                    .await
                    .is_none(),
            );
            if let Err(status) = again.register(register_request(&email)).await {
                assert_eq!(
                    reason(&status),
                    (Code::AlreadyExists, "EMAIL_IN_USE".to_owned())
                );
            }
            world
                .auth()
                .login(login_request(&email, PASSWORD))
                .await
                .expect("a whole account");
        }
        assert!(dropped > 3, "{dropped}");
        assert_eq!(engine.number("SELECT COUNT(*) FROM users").await, 16);
        assert_eq!(engine.number("SELECT COUNT(*) FROM passwords").await, 16);
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM users WHERE role = 'ADMIN'")
                .await,
            1
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_minted_session_can_be_requested_again_if_the_answer_was_lost() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        for round in 0..30_usize {
            let request = MintSessionRequest {
                user_id: user.id.clone(),
                request_id: format!("request-{round}"),
                ..Default::default()
            };
            let (mut lost, mut again) = (world.tokens(), world.tokens());
            let lost = drop_after(round * round / 4, lost.mint_session(request.clone())).await;
            let tokens = again
                .mint_session(request)
                .await
                .expect("minted")
                .into_inner()
                .tokens
                .expect("tokens");
            if let Some(answer) = lost {
                let answer = answer.expect("minted").into_inner().tokens.expect("tokens");
                assert_eq!(
                    (&answer.session_id, &answer.refresh_token),
                    (&tokens.session_id, &tokens.refresh_token)
                );
            }
            world
                .refresh(&tokens.refresh_token)
                .await
                .expect("the one session");
        }
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM sessions WHERE request_id IS NOT NULL")
                .await,
            30
        );
        world.end().await;
    })
    .await;
}
