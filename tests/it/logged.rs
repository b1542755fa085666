//! What the log at `info` tells an operator.

use countersign::grpc::proto::*;

use crate::bad_tokens::assert_invalid;
use crate::moderation::violation;
use crate::support::calls::by_user;
use crate::support::{World, logs, on_each_engine};

#[tokio::test]
async fn a_session_that_a_caller_ends_is_logged_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let session = world.mint(&user.id).await.session_id;
        for _ in 0..2 {
            world.revoke(&session).await;
        }
        let line = ["INFO", "a caller ended a session", &session, "caller=open"];
        assert_eq!(logs::count(&line), 1);

        world
            .tokens()
            .revoke_user_sessions(RevokeUserSessionsRequest {
                subject: by_user(&user.id),
                ..Default::default()
            })
            .await
            .expect("ended");
        let line = ["INFO", "a caller ended a user's sessions", &user.id];
        assert_eq!(logs::count(&line), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_access_token_with_its_scheme_is_invalid_and_the_log_says_why() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, session) = world.signed_in("ann@example.com").await;
        let thread = std::thread::current();
        let test = thread.name().expect("a name");
        let line = ["DEBUG", test, "give the token alone"];
        let before = logs::count(&line);
        assert_invalid(&world, &[format!("Bearer {}", session.access_token)]).await;
        assert_eq!(logs::count(&line), before + 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_that_a_caller_sets_is_logged_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let request = BanTargetRequest {
            target: Some(ban_target_request::Target::UserId(user.id)),
            request_id: "ban-1".to_owned(),
            ..Default::default()
        };
        let mut bans = Vec::new();
        for _ in 0..2 {
            let made = world.moderation().ban_target(request.clone()).await;
            bans.push(made.expect("banned").into_inner().ban.expect("a ban").id);
            world.clock.advance(std::time::Duration::from_secs(1));
        }
        assert_eq!(bans[0], bans[1]);
        let line = ["INFO", "a caller set a ban", &bans[0]];
        assert_eq!(logs::count(&line), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_that_a_score_causes_is_logged_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let request = RecordViolationRequest {
            score: Some(20),
            request_id: "report-1".to_owned(),
            ..violation(&user)
        };
        let mut bans = Vec::new();
        for _ in 0..2 {
            let mut moderation = world.moderation();
            let recorded = moderation.record_violation(request.clone()).await;
            bans.push(
                recorded
                    .expect("recorded")
                    .into_inner()
                    .ban
                    .expect("banned")
                    .id,
            );
            world.clock.advance(std::time::Duration::from_secs(1));
        }
        assert_eq!(bans[0], bans[1]);
        let line = [
            "INFO",
            "a score caused a ban",
            &bans[0],
            &user.id,
            "caller=\"open\"",
        ];
        assert_eq!(logs::count(&line), 1);
        world.end().await;
    })
    .await;
}
