//! Provider tokens are renewed when they have to be, and only once.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};

/// After this time a token of 100 seconds has 20 left: less than the 30 that it needs to be given
/// out.
pub(crate) const AGE: Duration = Duration::from_secs(80);

pub(crate) async fn provider() -> Provider {
    Provider::start(json!({ "access_token_ttl": 100 })).await
}

/// The user's access token at the provider, as one replica gives it.
pub(crate) async fn bearer_of(channel: Channel, access_token: &str) -> Result<String, Status> {
    let request = wish(
        access_token,
        Sink::Text,
        &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")],
    );
    let answer = FederationServiceClient::new(channel)
        .resolve_placeholders(request)
        .await?;
    let token = answer.into_inner().entries.remove("t");
    Ok(token.expect("a token"))
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_for_twenty_calls_at_once() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let old = world.bearer(&session.access_token).await.expect("resolved");
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "delay_ms": 200, "times": 1 }))
            .await;
        let answers = join_all((0..20).map(|_| world.bearer(&session.access_token))).await;
        let tokens: BTreeSet<String> = answers
            .into_iter()
            .map(|answer| answer.expect("renewed"))
            .collect();
        assert!(
            tokens.len() == 1 && !tokens.contains(&old),
            "{}",
            tokens.len()
        );
        assert_eq!(provider.stats().await.refreshes(), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn two_replicas_renew_a_token_once_and_both_give_the_new_one() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let other = world.another().await.expect("a replica");
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "delay_ms": 200, "times": 1 }))
            .await;
        let channels = [world.channel(), other.channel.clone()];
        let calls = channels
            .iter()
            .cycle()
            .take(20)
            .map(|channel| bearer_of(channel.clone(), &session.access_token));
        let tokens: BTreeSet<String> = join_all(calls)
            .await
            .into_iter()
            .map(|answer| answer.expect("renewed"))
            .collect();
        assert_eq!((tokens.len(), provider.stats().await.refreshes()), (1, 1));
        drop(channels);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_call_does_not_end_the_renewal() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "delay_ms": 300, "times": 1 }))
            .await;
        let (channel, access_token) = (world.channel(), session.access_token.clone());
        let call = tokio::spawn(async move { bearer_of(channel, &access_token).await });
        provider.wait_for_refreshes(1).await;
        call.abort();
        assert!(call.await.expect_err("cancelled").is_cancelled());
        world.bearer(&session.access_token).await.expect("renewed");
        let asked = provider.stats().await;
        assert_eq!(
            (asked.refreshes(), asked.successes["refresh_token"]),
            (1, 1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn renewed_tokens_are_kept_although_the_store_fails_during_the_renewal() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let old = world.bearer(&session.access_token).await.expect("resolved");
        world.clock.advance(AGE);
        provider
            .fail(json!({ "grant_type": "refresh_token", "delay_ms": 300, "times": 1 }))
            .await;
        let outage = async {
            provider.wait_for_refreshes(1).await;
            engine
                .execute("ALTER TABLE federated_tokens RENAME TO tokens_away")
                .await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            engine
                .execute("ALTER TABLE tokens_away RENAME TO federated_tokens")
                .await;
        };
        let (answer, ()) = tokio::join!(world.bearer(&session.access_token), outage);
        assert_ne!(answer.expect("renewed"), old);
        assert_eq!(provider.stats().await.successes["refresh_token"], 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_rotated_refresh_token_is_kept_and_used_next_time() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let mut seen =
            BTreeSet::from([world.bearer(&session.access_token).await.expect("resolved")]);
        for _ in 0..3 {
            world.clock.advance(AGE);
            assert!(
                seen.insert(world.bearer(&session.access_token).await.expect("renewed")),
                "the same token again"
            );
            world
                .bearer(&session.access_token)
                .await
                .expect("still good");
        }
        let asked = provider.stats().await;
        assert_eq!(
            (asked.refreshes(), asked.successes["refresh_token"]),
            (3, 3),
            "{asked:?}"
        );
        let held = world
            .held(&session.access_token, FederatedTokenKind::Access)
            .await
            .expect("held");
        assert_eq!(
            (held.state(), held.refreshable),
            (FederatedTokenState::Active, true)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_renewal_keeps_the_refresh_token_if_it_gets_no_new_one_and_stores_the_scopes() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let before = provider.token_requests().len();
        let now = world.clock.now().secs();
        let login = |nonce: &str| tokens("access-1", "refresh-token-1", &signed(&provider.claims("ann", nonce, now))).to_string();
        let (_, session, _) = world.arrive_at(&provider, login).await.expect("signed in");
        world.secret("refresh-token-1");
        let scopes = async || world.held(&session.access_token, FederatedTokenKind::Access).await.expect("held").scopes;
        assert_eq!(scopes().await, ["openid", "email"]);
        for (access_token, scope) in [("access-2", json!("openid")), ("access-3", json!(null))] {
            world.clock.advance(Duration::from_secs(280));
            provider.answer(
                200,
                &json!({ "access_token": access_token, "token_type": "Bearer", "expires_in": 300, "scope": scope }).to_string(),
            );
            assert_eq!(world.bearer(&session.access_token).await.expect("renewed"), access_token);
            assert_eq!(scopes().await, ["openid"], "scopes that are not stated stay as before");
        }
        let asked = provider.token_requests().split_off(before + 1);
        assert!(asked.len() == 2 && asked.iter().all(|body| body.contains("refresh_token=refresh-token-1")));
        let id_token = world.token(&session.access_token, "ID_TOKEN").await.expect("the login's is still good");
        assert_eq!(id_token.split('.').count(), 3);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn scopes_that_the_provider_did_not_grant_do_not_end_the_renewals() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        // This provider grants `offline_access` only with consent, which nobody was asked for.
        let scope = [("OPENID_SCOPE", "openid profile email offline_access")];
        let world = World::trusting(engine, &provider.issuer, &scope).await;
        let (_, session) = world.arrive("ann").await;
        let old = world.bearer(&session.access_token).await.expect("resolved");
        world.clock.advance(AGE);
        let new = world.bearer(&session.access_token).await.expect("renewed");
        let asked = provider.stats().await;
        assert_ne!(old, new);
        assert_eq!(
            (asked.refreshes(), asked.successes["refresh_token"]),
            (2, 1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_renewal_asks_for_the_scopes_and_the_audience_of_the_configuration() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let settings = [
            ("OPENID_SCOPE", "openid api://chat/.default"),
            ("OPENID_REFRESH_AUDIENCE", "https://api.example.com"),
        ];
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        let login = |nonce: &str| {
            let claims = provider.claims("ann", nonce, world.clock.now().secs());
            tokens("access-1", "refresh-1", &signed(&claims)).to_string()
        };
        let (_, session, _) = world.arrive_at(&provider, login).await.expect("signed in");
        world.clock.advance(Duration::from_secs(280));
        provider.answer(
            200,
            &json!({ "access_token": "access-2", "expires_in": 300 }).to_string(),
        );
        assert_eq!(
            world.bearer(&session.access_token).await.expect("renewed"),
            "access-2"
        );
        let asked = provider.token_requests().pop().expect("a request");
        let form: std::collections::BTreeMap<_, _> =
            url::form_urlencoded::parse(asked.as_bytes()).collect();
        assert_eq!(form["scope"], "openid api://chat/.default");
        assert_eq!(form["audience"], "https://api.example.com");
        world.end().await;
    })
    .await;
}
