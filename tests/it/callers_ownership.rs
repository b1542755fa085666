//! Callers: a session or login that one caller began is no other caller's.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::callers::{CALLERS, signed_in};
use crate::refresh::{refused, unauthenticated};
use crate::support::browser::sign_in;
use crate::support::callers::{Backend, CallersFile, Listed, sent_with};
use crate::support::calls::{complete_request, register_request};
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
            let callback = sign_in(&begun.authorization_url, "bob").await;
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
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn another_callers_session_is_neither_refreshed_nor_harmed() {
    let file = Listed::new(&[
        ("chat", &["auth.sign_in", "token.refresh"]),
        ("rogue", &["auth.sign_in", "token.refresh"]),
    ]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", &file.path())]).await;
        let (mut auth, mut tokens) = (world.auth(), world.tokens());
        auth.register(sent_with(
            &file.tokens[0],
            register_request("ann@example.com"),
        ))
        .await
        .expect("registered");
        let login = crate::support::calls::login_request(
            "ann@example.com",
            crate::support::calls::PASSWORD,
        );
        let answer = auth
            .login(sent_with(&file.tokens[0], login))
            .await
            .expect("signed in")
            .into_inner();
        let Some(login_response::Result::SignedIn(signed_in)) = answer.result else {
            panic!("not signed in")
        };
        let refresh_token = signed_in.tokens.expect("tokens").refresh_token;
        let request = || RefreshSessionRequest {
            refresh_token: refresh_token.clone(),
            client: None,
        };

        assert_eq!(
            refused(
                tokens
                    .refresh_session(sent_with(&file.tokens[1], request()))
                    .await
            ),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        let logout = LogoutRequest {
            refresh_token: refresh_token.clone(),
        };
        assert_eq!(
            refused(auth.logout(sent_with(&file.tokens[1], logout)).await),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(
            engine
                .number("SELECT generation FROM sessions WHERE revoke_time IS NULL")
                .await,
            1
        );
        tokens
            .refresh_session(sent_with(&file.tokens[0], request()))
            .await
            .expect("its own caller's");
        assert_eq!(
            refused(
                tokens
                    .refresh_session(sent_with(&file.tokens[1], request()))
                    .await
            ),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(
            engine
                .number("SELECT generation FROM sessions WHERE revoke_time IS NULL")
                .await,
            2
        );
        world.end().await;
    })
    .await;
}
