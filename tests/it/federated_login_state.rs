//! Sign-in at a provider: callbacks that do not match the login that began.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::federated_login::{NOTHING_MADE, arrived, begin, complete, refusal};
use crate::support::browser::{Callback, sign_in};
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{authorization_url, complete_request, fields};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn the_binding_token_of_another_browser_is_refused_and_the_state_cannot_be_used_again() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let others = world.begin_federated_login().await.binding_token;
        for binding_token in [String::new(), "x".repeat(10_000), others] {
            let (begun, callback) = arrived(&world, "ann").await;
            let request = complete_request(&begun, &callback);
            let stolen = CompleteFederatedLoginRequest {
                binding_token,
                ..request.clone()
            };
            assert_eq!(refusal(&world, stolen).await, "BINDING_MISMATCH");
            assert_eq!(refusal(&world, request).await, "STATE_INVALID");
        }
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_state_that_is_altered_or_too_old_or_of_another_provider_is_refused() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let request = complete_request(&begun, &callback);
        let altered = request.state.chars().rev().collect();
        for state in [
            String::new(),
            altered,
            "x".repeat(10_000),
            begun.binding_token.clone(),
        ] {
            let changed = CompleteFederatedLoginRequest {
                state,
                ..request.clone()
            };
            assert_eq!(refusal(&world, changed).await, "STATE_INVALID");
        }
        let elsewhere = CompleteFederatedLoginRequest {
            provider: "google".to_owned(),
            ..request.clone()
        };
        assert_eq!(refusal(&world, elsewhere).await, "STATE_INVALID");
        assert_eq!(
            refusal(&world, request).await,
            "STATE_INVALID",
            "the state was used up by the attempt at another provider"
        );

        let (begun, callback) = arrived(&world, "ann").await;
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "STATE_INVALID"
        );
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn no_login_begins_at_a_provider_that_is_not_configured() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for unknown in ["", "OpenID", "google"] {
            let status = world
                .auth()
                .begin_federated_login(begin(unknown))
                .await
                .expect_err("unknown");
            assert_eq!(
                reason(&status),
                (Code::NotFound, "PROVIDER_NOT_FOUND".to_owned())
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_login_can_be_completed_only_by_the_caller_that_began_it() {
    let provider = Provider::start(json!({})).await;
    let callers = Listed::new(&[("one", &["auth.sign_in"]), ("two", &["auth.sign_in"])]);
    on_each_engine(async |engine| {
        let world = World::trusting(
            engine,
            &provider.issuer,
            &[("COUNTERSIGN_CALLERS", &callers.path())],
        )
        .await;
        let [one, two] = [&callers.tokens[0], &callers.tokens[1]];
        let begun = async || {
            let begun = world
                .auth()
                .begin_federated_login(sent_with(one, begin("openid")))
                .await
                .expect("begun")
                .into_inner();
            let callback = sign_in(authorization_url(&begun), "ann").await;
            complete_request(&begun, &callback)
        };
        let request = begun().await;
        let status = world
            .auth()
            .complete_federated_login(sent_with(two, request.clone()))
            .await
            .expect_err("another caller's");
        assert_eq!(reason(&status).1, "STATE_INVALID");
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world
            .auth()
            .complete_federated_login(sent_with(one, begun().await))
            .await
            .expect("its own");
        for token in &callers.tokens {
            world.secret(token);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_callback_with_an_error_or_without_a_code_creates_nothing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let good = complete_request(&begun, &callback);
        for (code, error) in [("", ""), ("a-code", "access_denied")] {
            let request = CompleteFederatedLoginRequest {
                code: code.to_owned(),
                error: error.to_owned(),
                ..good.clone()
            };
            assert_eq!(
                fields(&complete(&world, request).await.expect_err("invalid")),
                ["code"]
            );
        }
        let denied = CompleteFederatedLoginRequest {
            code: String::new(),
            error: "access_denied".to_owned(),
            error_description: "she said no".to_owned(),
            ..good.clone()
        };
        let status = complete(&world, denied).await.expect_err("refused");
        assert_eq!(
            reason(&status),
            (Code::Unauthenticated, "PROVIDER_REFUSED".to_owned())
        );
        assert_eq!(
            status.get_details_error_info().expect("info").metadata["problem"],
            "access_denied"
        );
        assert_eq!(refusal(&world, good).await, "STATE_INVALID");
        assert_eq!(provider.stats().await.exchanges(), 0);
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_callback_of_another_issuer_or_with_an_unknown_code_creates_nothing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let come_back = async |iss: &str| {
            let begun = world.begin_federated_login().await;
            let callback = Callback {
                code: "a-code".to_owned(),
                state: begun.state.clone(),
                iss: iss.to_owned(),
            };
            refusal(&world, complete_request(&begun, &callback)).await
        };
        let slashed = format!("{}/", provider.issuer);
        for iss in [
            "",
            "https://honest.example",
            &slashed,
            &provider.issuer.replacen("://", "%3A%2F%2F", 1),
        ] {
            assert_eq!(come_back(iss).await, "ID_TOKEN_INVALID", "{iss}");
        }
        assert_eq!(provider.stats().await.exchanges(), 0);
        assert_eq!(
            come_back(&provider.issuer).await,
            "PROVIDER_REFUSED",
            "the provider never gave this code"
        );
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world.end().await;
    })
    .await;
}
