//! What is counted of identity providers and their tokens.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;

use crate::renewal::{AGE, provider};
use crate::support::calls::by_token;
use crate::support::shape::struct_of;
use crate::support::{World, on_each_engine};

fn requests(world: &World<'_>, request: &str, outcome: &str) -> u64 {
    let labels = format!("provider=\"openid\",request=\"{request}\",outcome=\"{outcome}\"");
    world.count("countersign_provider_requests_total", &labels)
}

fn renewals(world: &World<'_>, outcome: &str) -> u64 {
    let labels = format!("provider=\"openid\",outcome=\"{outcome}\"");
    world.count("countersign_token_renewals_total", &labels)
}

fn releases(world: &World<'_>, target: &str, token: &str) -> u64 {
    let labels = format!("target=\"{target}\",token=\"{token}\"");
    world.count("countersign_token_releases_total", &labels)
}

#[tokio::test]
async fn requests_to_a_provider_and_renewals_are_counted_by_outcome() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        assert_eq!(requests(&world, "discovery", "ok"), 0);
        let (_, session) = world.arrive("ann").await;
        for request in ["discovery", "code", "keys"] {
            assert_eq!(requests(&world, request, "ok"), 1, "{request}");
        }
        let opened = world.count("countersign_sessions_opened_total", "method=\"federated\"");
        assert_eq!(opened, 1);

        world.clock.advance(AGE);
        world.bearer(&session.access_token).await.expect("renewed");
        world.clock.advance(AGE);
        for (status, error, pause) in [
            (503, "temporarily_unavailable", Duration::from_secs(30)),
            (400, "invalid_grant", Duration::ZERO),
        ] {
            let fault = json!({ "grant_type": "refresh_token", "status": status, "error": error });
            provider.fail(fault).await;
            // Repeated calls ask the provider once.
            for _ in 0..2 {
                world.bearer(&session.access_token).await.expect_err(error);
            }
            world.clock.advance(pause);
        }
        for outcome in ["ok", "server_error", "refused"] {
            assert_eq!(requests(&world, "refresh", outcome), 1, "{outcome}");
        }
        for outcome in ["renewed", "backoff", "reconnect_required"] {
            assert_eq!(renewals(&world, outcome), 1, "{outcome}");
        }
        assert_eq!(renewals(&world, "not_stored"), 0);
        let all = world.count(
            "countersign_provider_request_duration_seconds_count",
            "provider=\"openid\"",
        );
        assert_eq!(all, 6);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_memory_of_provider_tokens_is_measured_once_they_were_read() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let cached = |what| {
            let name = format!("countersign_cache_{what}");
            world.count(&name, "cache=\"provider_tokens\"")
        };
        assert_eq!((cached("entries"), cached("bytes")), (0, 0));
        let token = world.bearer(&session.access_token).await.expect("resolved");
        assert_eq!(cached("entries"), 1);
        // What the entry itself and its row take, and the token.
        assert!(cached("bytes") > 3 * 1024 + token.len() as u64);
        assert!(cached("bytes") < cached("bytes_max"));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_counted() {
    on_each_engine(async |engine| {
        let world = World::trusting(engine, "http://127.0.0.1:1", &[]).await;
        let request = BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            client: crate::support::client(),
            ..Default::default()
        };
        let answer = world.auth().begin_federated_login(request).await;
        answer.expect_err("out of reach");
        assert_eq!(requests(&world, "discovery", "unreachable"), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn releases_are_counted_by_the_kinds_of_target_and_token() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        for _ in 0..2 {
            world.bearer(&session.access_token).await.expect("resolved");
        }
        world
            .token(&session.access_token, "ID_TOKEN")
            .await
            .expect("resolved");
        let endpoint = json!({
            "baseURL": "https://api.example.com",
            "headers": { "Authorization": "Bearer {{LIBRECHAT_OPENID_TOKEN}}" },
        });
        let request = ResolveEndpointRequest {
            subject: by_token(&session.access_token),
            target: Some(resolve_endpoint_request::Target::Endpoint(struct_of(
                &endpoint,
            ))),
            ..Default::default()
        };
        let answer = world.federation().resolve_endpoint(request).await;
        answer.expect("resolved");
        assert_eq!(releases(&world, "placeholders", "access"), 2);
        assert_eq!(releases(&world, "placeholders", "id"), 1);
        assert_eq!(releases(&world, "endpoint", "access"), 1);
        assert_eq!(releases(&world, "mcp_server", "access"), 0);
        world.end().await;
    })
    .await;
}
