//! Calls that are cancelled before their answer comes.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::federated_login::arrived;
use crate::support::calls::{PASSWORD, complete_request, login_request, register_request};
use crate::support::provider::Provider;
use crate::support::{Engine, World, on_each_engine, reason};

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

/// Live sessions of which no caller has the tokens.
const LIVE: &str = "SELECT COUNT(*) FROM sessions WHERE revoke_time IS NULL";

/// Waits until a count is what it should be.
async fn becomes(engine: &Engine, sql: &str, expected: i64) {
    let reached = async { while engine.number(sql).await != expected {} };
    let reached = tokio::time::timeout(Duration::from_secs(10), reached).await;
    assert!(reached.is_ok(), "{} {sql}", engine.number(sql).await);
}

#[tokio::test]
async fn a_sign_in_at_a_provider_whose_caller_gave_up_leaves_no_live_session() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for gone in ["the connection", "the deadline"] {
            let (begun, callback) = arrived(&world, "ann").await;
            let slow = json!({ "delay_ms": 400, "times": 1 });
            provider.fail(slow).await;
            let before = provider.stats().await.exchanges();
            let asked = async { while provider.stats().await.exchanges() == before {} };
            let mut request = tonic::Request::new(complete_request(&begun, &callback));
            if gone == "the deadline" {
                request.set_timeout(Duration::from_millis(200));
            }
            let mut auth = world.auth();
            let mut call = Box::pin(auth.complete_federated_login(request));
            if gone == "the deadline" {
                call.await.expect_err("too late");
            } else {
                tokio::select! {
                    _ = &mut call => panic!("it must wait for the provider"),
                    () = asked => drop(call),
                }
            }
            let ended = "SELECT COUNT(*) FROM sessions WHERE revoke_reason = 'abandoned'";
            becomes(engine, ended, if gone == "the deadline" { 2 } else { 1 }).await;
        }
        assert_eq!(engine.number(LIVE).await, 0);
        assert_eq!(
            engine.number("SELECT COUNT(*) FROM federated_tokens").await,
            0
        );
        let (user, tokens) = world.arrive("ann").await;
        assert!(world.verdict(&tokens.access_token).await.0, "{user:?}");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_login_whose_caller_gave_up_leaves_no_live_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        world.secret(PASSWORD);
        world.register("ann@example.com").await;
        let (mut delivered, mut dropped) = (0, 0);
        for round in 0..16_usize {
            let mut auth = world.auth();
            let login = auth.login(login_request("ann@example.com", PASSWORD));
            match drop_after(round * round * 8, login).await {
                Some(answer) => {
                    answer.expect("signed in");
                    delivered += 1;
                }
                None => dropped += 1,
            }
        }
        assert!(dropped > 3, "{dropped}");
        // A last login waits for the others: passwords are checked in turn.
        world.login("ann@example.com").await;
        becomes(engine, LIVE, delivered + 1).await;
        world.end().await;
    })
    .await;
}
