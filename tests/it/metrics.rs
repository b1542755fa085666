//! `World::metrics` after calls: what a caller did is counted.

use countersign::grpc::proto::*;
use tonic::Code;

use crate::support::calls::{PASSWORD, login_request};
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
