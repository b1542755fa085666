//! Callers: only the caller that began a session or login can continue it.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::callers::{CALLERS, signed_in};
use crate::refresh::{refused, unauthenticated};
use crate::support::browser::sign_in;
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{authorization_url, complete_request};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine, reason};

#[tokio::test]
async fn another_callers_refresh_token_is_refused_and_not_consumed() {
    let (chat, agents) = (
        Backend::new("chat", &["auth.sign_in", "token.*"]),
        Backend::new("agents", &["auth.sign_in", "token.*"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let refresh = async |caller: &Backend| {
            let request = RefreshSessionRequest {
                refresh_token: tokens.refresh_token.clone(),
                client: client(),
            };
            world
                .tokens()
                .refresh_session(caller.sends(request))
                .await
                .map(|answer| answer.into_inner().tokens.expect("tokens"))
        };
        let refused = (Code::Unauthenticated, "REFRESH_TOKEN_INVALID".to_owned());
        assert_eq!(
            reason(&refresh(&agents).await.expect_err("refused")),
            refused
        );
        let logout = agents.sends(LogoutRequest {
            refresh_token: tokens.refresh_token.clone(),
        });
        assert_eq!(
            reason(&world.auth().logout(logout).await.expect_err("refused")),
            refused
        );
        let next = refresh(&chat).await.expect("refreshed");
        world.keep_secret(&next);
        assert_eq!(
            reason(&refresh(&agents).await.expect_err("no successor for others")),
            refused
        );
        assert_eq!(
            refresh(&chat)
                .await
                .expect("the same successor")
                .refresh_token,
            next.refresh_token
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn only_the_caller_that_began_a_federated_login_completes_it() {
    let provider = Provider::start(json!({})).await;
    let (chat, agents) = (
        Backend::new("chat", &["auth.sign_in"]),
        Backend::new("agents", &["auth.sign_in"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[(CALLERS, file.path())]).await;
        let begun = async || {
            let request = BeginFederatedLoginRequest {
                provider: "openid".to_owned(),
                return_to: String::new(),
                client: client(),
            };
            let begun = world
                .auth()
                .begin_federated_login(chat.sends(request))
                .await
                .expect("begun")
                .into_inner();
            let callback = sign_in(authorization_url(&begun), "bob").await;
            complete_request(&begun, &callback)
        };
        let complete = async |caller: &Backend, request| {
            world
                .auth()
                .complete_federated_login(caller.sends(request))
                .await
        };
        let refused = complete(&agents, begun().await).await.expect_err("refused");
        assert_eq!(
            reason(&refused),
            (Code::Unauthenticated, "STATE_INVALID".to_owned())
        );
        assert_eq!(engine.number("SELECT COUNT(*) FROM users").await, 0);
        complete(&chat, begun().await).await.expect("signed in");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_cannot_refresh_or_end_another_callers_session() {
    let chat = Backend::new("chat", &["auth.sign_in", "token.refresh"]);
    let rogue = Backend::new("rogue", &["auth.sign_in", "token.refresh"]);
    let file = CallersFile::new(&[&chat, &rogue]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (_, TokenPair { refresh_token, .. }) =
            signed_in(&world, &chat, "ann@example.com").await;
        let refresh = async |caller: &Backend| {
            let request = RefreshSessionRequest {
                refresh_token: refresh_token.clone(),
                client: None,
            };
            world.tokens().refresh_session(caller.sends(request)).await
        };
        let generation = "SELECT generation FROM sessions WHERE revoke_time IS NULL";

        assert_eq!(
            refused(refresh(&rogue).await),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        let logout = rogue.sends(LogoutRequest {
            refresh_token: refresh_token.clone(),
        });
        assert_eq!(
            refused(world.auth().logout(logout).await),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(engine.number(generation).await, 1);
        refresh(&chat)
            .await
            .expect("the session's own caller refreshes it");
        assert_eq!(
            refused(refresh(&rogue).await),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(engine.number(generation).await, 2);
        world.end().await;
    })
    .await;
}
