//! `World::metrics` after calls: what a caller did is counted.

use std::time::Duration;

use countersign::grpc::proto::*;
use tonic::Code;

use crate::support::calls::{PASSWORD, login_request, register_request};
use crate::support::{World, on_each_engine};

const SERVICE: &str = "countersign.v1";

/// How many calls of a method were answered with a code.
fn calls(world: &World<'_>, method: &str, code: &str) -> u64 {
    let labels = format!("rpc_method=\"{SERVICE}.{method}\",rpc_response_status_code=\"{code}\"");
    world.count("rpc_server_call_duration_seconds_count", &labels)
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code_and_errors_by_reason() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for _ in 0..3 {
            world.verify(&tokens.access_token).await;
        }
        world.verify("no token").await;
        let wrong = login_request("ann@example.com", "kestrel lantern orbit");
        world.auth().login(wrong).await.expect_err("wrong");
        let nobody = world.auth().get_user(GetUserRequest::default()).await;
        assert_eq!(nobody.expect_err("no user").code(), Code::InvalidArgument);
        assert_eq!(calls(&world, "TokenService/VerifyToken", "OK"), 4);
        assert_eq!(calls(&world, "AuthService/Register", "OK"), 1);
        assert_eq!(calls(&world, "AuthService/Login", "OK"), 1);
        assert_eq!(calls(&world, "AuthService/Login", "UNAUTHENTICATED"), 1);
        assert_eq!(calls(&world, "AuthService/GetUser", "INVALID_ARGUMENT"), 1);
        let errors = |reason: &str| {
            world.count(
                "countersign_rpc_errors_total",
                &format!("reason=\"{reason}\""),
            )
        };
        assert_eq!(errors("CREDENTIALS_WRONG"), 1);
        assert_eq!(errors("FIELDS_INVALID"), 1);
        assert_eq!(errors("BUSY"), 0);
        assert_eq!(world.count("countersign_rpc_calls_in_flight", ""), 0);
        let connections = |name: &str| world.count(&format!("countersign_connections_{name}"), "");
        assert_eq!(connections("accepted_total"), 1);
        assert_eq!((connections("open"), connections("pending")), (1, 0));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn metrics_hold_no_user_no_session_no_token_and_no_address() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        world.verify(&tokens.access_token).await;
        let text = world.metrics();
        for canary in [
            "ann@example.com",
            PASSWORD,
            &user.id,
            &tokens.session_id,
            &tokens.access_token,
            &tokens.refresh_token,
            "203.0.113.7",
            "127.0.0.1",
            "Ann Example",
        ] {
            assert!(!text.contains(canary), "{canary}: {text}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn sessions_are_counted_when_they_open_and_are_refreshed() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let mint = MintSessionRequest {
            user_id: user.id.clone(),
            request_id: "once".to_owned(),
            ..Default::default()
        };
        for _ in 0..2 {
            world
                .tokens()
                .mint_session(mint.clone())
                .await
                .expect("minted");
        }
        let opened = |method| {
            let labels = format!("method=\"{method}\"");
            world.count("countersign_sessions_opened_total", &labels)
        };
        assert_eq!(
            (opened("password"), opened("mint"), opened("federated")),
            (1, 1, 0)
        );

        let second = world.refresh(&first.refresh_token).await.expect("rotated");
        world.refresh(&first.refresh_token).await.expect("repeated");
        world.refresh(&second.refresh_token).await.expect("rotated");
        world.clock.advance(Duration::from_mins(1));
        world
            .refresh(&first.refresh_token)
            .await
            .expect_err("reused");
        world.refresh("no token").await.expect_err("refused");
        let refreshed = |outcome| {
            let labels = format!("outcome=\"{outcome}\"");
            world.count("countersign_session_refreshes_total", &labels)
        };
        let outcomes = ["rotated", "repeated", "reused", "refused", "failed"];
        assert_eq!(outcomes.map(refreshed), [2, 1, 1, 1, 0]);

        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn sessions_that_are_ended_are_counted_by_reason() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        world.refresh(&first.refresh_token).await.expect("rotated");
        world.clock.advance(Duration::from_mins(1));
        world
            .refresh(&first.refresh_token)
            .await
            .expect_err("reused");
        let second = world.login("ann@example.com").await.tokens.expect("tokens");
        world.logout(&second.refresh_token).await.expect("ended");
        world.revoke(&world.mint(&user.id).await.session_id).await;
        world.revoke(&second.session_id).await;
        let ban = BanTargetRequest {
            target: Some(ban_target_request::Target::UserId(user.id.clone())),
            request_id: "once".to_owned(),
            ..Default::default()
        };
        world.mint(&user.id).await;
        world.mint(&user.id).await;
        for _ in 0..2 {
            world
                .moderation()
                .ban_target(ban.clone())
                .await
                .expect("banned");
        }
        let ended = |reason| {
            let labels = format!("reason=\"{reason}\"");
            world.count("countersign_sessions_ended_total", &labels)
        };
        let reasons = [
            "reused",
            "logout",
            "revoked",
            "banned",
            "abandoned",
            "cap",
            "idle",
        ];
        assert_eq!(reasons.map(ended), [1, 1, 1, 2, 0, 0, 0]);
        let bans = "target=\"user\",cause=\"caller\"";
        assert_eq!(world.count("countersign_bans_total", bans), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn verifications_are_counted_by_outcome_and_by_where_the_session_came_from() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        world.verify(&tokens.access_token).await;
        world.clock.advance(Duration::from_secs(2));
        let batch = BatchVerifyTokensRequest {
            access_tokens: vec![tokens.access_token.clone(), "no token".to_owned()],
            audience: String::new(),
        };
        for _ in 0..2 {
            world
                .tokens()
                .batch_verify_tokens(batch.clone())
                .await
                .expect("verdicts");
        }
        world.clock.advance(Duration::from_mins(6));
        world.verify(&tokens.access_token).await;
        world.revoke(&tokens.session_id).await;
        world.verify(&tokens.access_token).await;
        world.clock.advance(Duration::from_hours(1));
        world.verify(&world.mint(&user.id).await.access_token).await;
        world.verify(&tokens.access_token).await;
        let verified = |outcome, source| {
            let labels = format!("outcome=\"{outcome}\",source=\"{source}\"");
            world.count("countersign_token_verifications_total", &labels)
        };
        assert_eq!(verified("active", "memory"), 4);
        assert_eq!(verified("active", "store"), 1);
        assert_eq!(verified("invalid", "memory"), 2);
        assert_eq!(verified("session_revoked", "store"), 2);
        assert_eq!(verified("failed", "store"), 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn limits_violations_and_bans_are_counted() {
    on_each_engine(async |engine| {
        let limits = [
            ("REGISTER_MAX", "2"),
            ("REGISTRATION_VIOLATION_SCORE", "20"),
        ];
        let world = World::start(engine, &limits).await;
        for name in ["ann", "ben", "cid", "dan"] {
            let request = register_request(&format!("{name}@example.com"));
            let answer = world.auth().register(request).await;
            assert_eq!(answer.is_ok(), ["ann", "ben"].contains(&name));
        }
        let attempts = |limiter, decision| {
            let labels = format!("limiter=\"{limiter}\",decision=\"{decision}\"");
            world.count("countersign_limited_attempts_total", &labels)
        };
        assert_eq!(attempts("register", "allowed"), 2);
        assert_eq!(attempts("register", "refused"), 1);
        assert_eq!(attempts("login", "allowed"), 0);
        let checks = |decision| {
            let labels = format!("decision=\"{decision}\"");
            world.count("countersign_ban_checks_total", &labels)
        };
        assert_eq!((checks("allowed"), checks("refused")), (3, 1));
        assert_eq!(world.count("countersign_violations_total", ""), 1);
        let bans = "target=\"network\",cause=\"score\"";
        assert_eq!(world.count("countersign_bans_total", bans), 1);
        for state in ["waiting", "running"] {
            let labels = format!("state=\"{state}\"");
            assert_eq!(world.count("countersign_password_calls", &labels), 0);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_background_task_tells_that_it_runs_and_when_it_succeeded() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let of = |name: &str| {
            let name = format!("countersign_background_task_{name}");
            world.count(&name, "task=\"cleaner\"")
        };
        let now = world.clock.now().secs().unsigned_abs();
        while of("last_success_timestamp_seconds") != now {
            tokio::task::yield_now().await;
        }
        assert_eq!((of("alive"), of("restarts_total")), (1, 0));
        world.end().await;
    })
    .await;
}
