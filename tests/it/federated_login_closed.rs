//! Sign-in at a provider: whom the service's settings and bans keep out.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::federated_login::{NOTHING_MADE, arrived, begin, complete, refusal, users_and_sessions};
use crate::support::calls::{ADDRESS, complete_request};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn without_social_login_no_login_can_begin_or_be_completed() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let open = World::trusting(engine, &provider.issuer, &[]).await;
        let providers = open
            .auth()
            .list_providers(ListProvidersRequest {})
            .await
            .expect("a list")
            .into_inner()
            .providers;
        assert_eq!(
            providers
                .iter()
                .map(|one| (one.id.as_str(), one.kind.as_str()))
                .collect::<Vec<_>>(),
            [("openid", "openid")]
        );
        let (begun, callback) = arrived(&open, "ann").await;

        let shut =
            World::trusting(engine, &provider.issuer, &[("ALLOW_SOCIAL_LOGIN", "false")]).await;
        let status = shut
            .auth()
            .begin_federated_login(begin("openid"))
            .await
            .expect_err("closed");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "LOGIN_CLOSED".to_owned())
        );
        assert_eq!(
            refusal(&shut, complete_request(&begun, &callback)).await,
            "LOGIN_CLOSED"
        );
        let providers = shut
            .auth()
            .list_providers(ListProvidersRequest {})
            .await
            .expect("a list")
            .into_inner()
            .providers;
        assert_eq!((providers.len(), engine.number(NOTHING_MADE).await), (0, 0));
        shut.end().await;
        open.end().await;
    })
    .await;
}

#[tokio::test]
async fn closed_registration_refuses_new_accounts_and_lets_known_ones_sign_in() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let open =
            World::trusting(engine, &provider.issuer, &[("ALLOW_REGISTRATION", "false")]).await;
        let (ann, _) = open.arrive("ann").await;
        let closed = World::trusting(
            engine,
            &provider.issuer,
            &[("OPENID_ALLOW_REGISTRATION", "false")],
        )
        .await;
        assert_eq!(closed.arrive("ann").await.0.id, ann.id);
        let (begun, callback) = arrived(&closed, "bob").await;
        let status = complete(&closed, complete_request(&begun, &callback))
            .await
            .expect_err("closed");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "REGISTRATION_CLOSED".to_owned())
        );
        assert_eq!(users_and_sessions(engine).await, (1, 2));
        let social = World::trusting(
            engine,
            &provider.issuer,
            &[("ALLOW_SOCIAL_REGISTRATION", "false")],
        )
        .await;
        let (begun, callback) = arrived(&social, "bob").await;
        assert_eq!(
            refusal(&social, complete_request(&begun, &callback)).await,
            "REGISTRATION_CLOSED"
        );
        social.end().await;
        closed.end().await;
        open.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_banned_user_or_address_cannot_sign_in() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let ban = async |target| {
            let request = BanTargetRequest {
                target: Some(target),
                reason: "test".to_owned(),
                ..Default::default()
            };
            world
                .moderation()
                .ban_target(request)
                .await
                .expect("banned")
                .into_inner()
                .ban
                .expect("a ban")
                .id
        };
        let (begun, callback) = arrived(&world, "ann").await;
        let of_address = ban(ban_target_request::Target::IpAddress(ADDRESS.to_owned())).await;
        let status = world
            .auth()
            .begin_federated_login(begin("openid"))
            .await
            .expect_err("banned");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "BANNED".to_owned())
        );
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "BANNED"
        );
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );

        world
            .moderation()
            .lift_ban(LiftBanRequest { ban_id: of_address })
            .await
            .expect("lifted");
        let (ann, _) = world.arrive("ann").await;
        ban(ban_target_request::Target::UserId(ann.id)).await;
        let (begun, callback) = arrived(&world, "ann").await;
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "BANNED"
        );
        assert_eq!(users_and_sessions(engine).await, (1, 1));
        world.end().await;
    })
    .await;
}
