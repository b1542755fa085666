//! Callers with audiences: whose tokens they verify, get and show.

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;

use crate::callers::{CALLERS, refused_for, signed_in};
use crate::callers_subjects::resolve;
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{PASSWORD, by_token, login_request};
use crate::support::{World, client, on_each_engine};

#[tokio::test]
async fn a_caller_with_audiences_verifies_for_no_other_one() {
    let audience = "https://chat.example";
    let chat = Backend::new("chat", &["auth.sign_in", "token.*"]).audiences(&[audience]);
    let agents = Backend::new("agents", &["token.*"]).audiences(&["https://agents.example"]);
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", audience)],
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
        for asked in ["", audience] {
            assert!(verify(&chat, asked).await.expect("a verdict"));
            assert_eq!(
                refused_for(&verify(&agents, asked).await, "audience").as_deref(),
                Some(audience)
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

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_caller_without_our_audience_neither_gets_nor_shows_our_tokens() {
    let audience = "https://chat.example";
    let chat = Backend::new("chat", &["auth.*"]).audiences(&[audience]);
    let all = [
        "auth.*",
        "token.*",
        "token.mint",
        "federation.*",
        "federation.inline",
        "federation.tokens",
        "auth.read.any",
    ];
    let agents = Backend::new("agents", &all).audiences(&["https://agents.example"]);
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[(CALLERS, file.path()), ("COUNTERSIGN_AUDIENCE", audience)],
        )
        .await;
        let (user, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let (mut auth, mut sessions, mut federation) =
            (world.auth(), world.tokens(), world.federation());
        let named = || by_token(&tokens.access_token);
        let get = GetUserRequest {
            user: named().map(Named::Subject),
        };
        let one = RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject: named(),
        };
        let many = RevokeUserSessionsRequest {
            subject: named(),
            ..Default::default()
        };
        let status = GetTokenStatusRequest {
            subject: named(),
            ..Default::default()
        };
        let delete = DeleteTokensRequest {
            subject: named(),
            ..Default::default()
        };
        let mint = MintSessionRequest {
            user_id: user.id.clone(),
            ..Default::default()
        };
        let refresh = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: client(),
        };
        for refused in [
            refused_for(&auth.get_user(agents.sends(get)).await, "audience"),
            refused_for(
                &sessions
                    .list_sessions(agents.sends(ListSessionsRequest {
                        subject: named(),
                        ..Default::default()
                    }))
                    .await,
                "audience",
            ),
            refused_for(
                &sessions.revoke_session(agents.sends(one)).await,
                "audience",
            ),
            refused_for(
                &sessions.revoke_user_sessions(agents.sends(many)).await,
                "audience",
            ),
            refused_for(
                &federation
                    .resolve_placeholders(agents.sends(resolve(named(), "{{LIBRECHAT_USER_ID}}")))
                    .await,
                "audience",
            ),
            refused_for(
                &federation.get_token_status(agents.sends(status)).await,
                "audience",
            ),
            refused_for(
                &federation.delete_tokens(agents.sends(delete)).await,
                "audience",
            ),
            refused_for(&sessions.mint_session(agents.sends(mint)).await, "audience"),
            refused_for(
                &sessions.refresh_session(agents.sends(refresh)).await,
                "audience",
            ),
            refused_for(
                &auth
                    .login(agents.sends(login_request("ann@example.com", PASSWORD)))
                    .await,
                "audience",
            ),
            refused_for(
                &auth
                    .complete_federated_login(
                        agents.sends(CompleteFederatedLoginRequest::default()),
                    )
                    .await,
                "audience",
            ),
        ] {
            assert_eq!(refused.as_deref(), Some(audience));
        }
        let by_email = agents.sends(GetUserRequest {
            user: Some(Named::Email("ann@example.com".to_owned())),
        });
        auth.get_user(by_email).await.expect("no token is shown");
        world.end().await;
    })
    .await;
}
