//! Callers with audiences: which tokens they can verify, get and use.

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;

use crate::callers::{CALLERS, refused_for, signed_in};
use crate::callers_subjects::lacking_for;
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{PASSWORD, by_token, login_request};
use crate::support::{World, client, on_each_engine};

const AUDIENCE: &str = "https://chat.example";

#[tokio::test]
async fn a_caller_with_audiences_can_verify_for_no_other_audience() {
    let chat = Backend::new("chat", &["auth.sign_in", "token.*"]).audiences(&[AUDIENCE]);
    let agents = Backend::new("agents", &["token.*"]).audiences(&["https://agents.example"]);
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", AUDIENCE)],
        )
        .await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let verify = async |caller: &Backend, audience: &str| {
            let request = VerifyTokenRequest {
                access_token: tokens.access_token.clone(),
                audience: audience.to_owned(),
            };
            let one = world.tokens().verify_token(caller.sends(request)).await;
            let batch = BatchVerifyTokensRequest {
                access_tokens: vec![tokens.access_token.clone()],
                audience: audience.to_owned(),
            };
            let many = world
                .tokens()
                .batch_verify_tokens(caller.sends(batch))
                .await;
            assert_eq!(
                refused_for(&one, "audience"),
                refused_for(&many, "audience")
            );
            one.map(|answer| answer.into_inner().active)
        };
        for asked in ["", AUDIENCE] {
            assert!(verify(&chat, asked).await.expect("a verdict"));
            assert_eq!(
                refused_for(&verify(&agents, asked).await, "audience").as_deref(),
                Some(AUDIENCE)
            );
        }
        assert!(refused_for(&verify(&chat, "https://agents.example").await, "audience").is_some());
        assert!(
            !verify(&agents, "https://agents.example")
                .await
                .expect("a verdict"),
            "it is for another audience"
        );
        world.end().await;
    })
    .await;
}

/// A backend for our audience, and one that has every permission for another audience.
fn backends() -> (Backend, Backend) {
    let all = [
        "auth.*",
        "token.*",
        "token.mint",
        "token.keys",
        "federation.*",
        "federation.inline",
        "federation.tokens",
        "auth.read.any",
    ];
    (
        Backend::new("chat", &["auth.*"]).audiences(&[AUDIENCE]),
        Backend::new("agents", &all).audiences(&["https://agents.example"]),
    )
}

#[tokio::test]
async fn a_caller_of_another_audience_cannot_use_our_tokens() {
    let (chat, agents) = backends();
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", AUDIENCE)],
        )
        .await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let named = by_token(&tokens.access_token);
        assert_eq!(
            lacking_for(&world, &agents, &tokens.session_id, named, "audience").await,
            vec![Some(AUDIENCE.to_owned()); 7]
        );
        let refresh = agents.sends(RefreshSessionRequest {
            refresh_token: tokens.refresh_token,
            client: client(),
        });
        assert_eq!(
            refused_for(&world.tokens().refresh_session(refresh).await, "audience").as_deref(),
            Some(AUDIENCE)
        );
        let by_email = agents.sends(GetUserRequest {
            user: Some(Named::Email("ann@example.com".to_owned())),
        });
        world
            .auth()
            .get_user(by_email)
            .await
            .expect("no token is shown");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_of_another_audience_gets_no_token_of_ours() {
    let (chat, agents) = backends();
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", AUDIENCE)],
        )
        .await;
        let (user, _) = signed_in(&world, &chat, "ann@example.com").await;
        let mint = agents.sends(MintSessionRequest {
            user_id: user.id,
            ..Default::default()
        });
        let login = agents.sends(login_request("ann@example.com", PASSWORD));
        let complete = agents.sends(CompleteFederatedLoginRequest::default());
        for refused in [
            refused_for(&world.tokens().mint_session(mint).await, "audience"),
            refused_for(&world.auth().login(login).await, "audience"),
            refused_for(
                &world.auth().complete_federated_login(complete).await,
                "audience",
            ),
        ] {
            assert_eq!(refused.as_deref(), Some(AUDIENCE));
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_caller_of_another_audience_changes_no_key_of_ours() {
    let (_, agents) = backends();
    let file = CallersFile::new(&[&agents]);
    on_each_engine(async |engine| {
        let settings = [(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", AUDIENCE)];
        let world = World::start(engine, &settings).await;
        let rotate = agents.sends(RotateSigningKeyRequest {});
        let rotated = world.tokens().rotate_signing_key(rotate).await;
        assert_eq!(refused_for(&rotated, "audience").as_deref(), Some(AUDIENCE));
        let revoke = agents.sends(RevokeSigningKeyRequest::default());
        let revoked = world.tokens().revoke_signing_key(revoke).await;
        assert_eq!(refused_for(&revoked, "audience").as_deref(), Some(AUDIENCE));
        world.end().await;
    })
    .await;
}
