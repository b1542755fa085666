//! What a renewal makes of the ID token that comes with the new tokens.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::{Value, json};

use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, signed_by_stranger, tokens};
use crate::support::{World, on_each_engine, reason};

/// After this time the access token, which lasts 300 seconds, has to be renewed.
const AGE: Duration = Duration::from_secs(280);

/// Signs in with these claims beside the usual ones; a claim that is null is left out.
async fn arrive(world: &World<'_>, provider: &Hostile, more: &Value) -> TokenPair {
    let login = |nonce: &str| {
        let usual = provider.claims("ann", nonce, world.clock.now().secs());
        tokens("access-1", "refresh-1", &signed(&with(&usual, more))).to_string()
    };
    world.arrive_at(provider, login).await.expect("signed in").1
}

fn with(claims: &Value, more: &Value) -> Value {
    let mut claims = claims.as_object().expect("an object").clone();
    claims.extend(more.as_object().expect("an object").clone());
    claims.retain(|_, value| !value.is_null());
    claims.into()
}

async fn value(world: &World<'_>, session: &TokenPair, placeholder: &str) -> String {
    let template = format!("{{{{LIBRECHAT_OPENID_{placeholder}}}}}");
    let request = wish(&session.access_token, Sink::Text, &[("value", &template)]);
    match world.resolve(request).await {
        Ok(mut values) => values.remove("value").expect("the value"),
        Err(status) => reason(&status).1,
    }
}

#[tokio::test]
async fn a_provider_that_replaces_its_key_costs_nobody_their_sign_in() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        provider.publish_other_key(false);
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let short = |mut tokens: Value| {
            tokens["expires_in"] = json!(40);
            tokens.to_string()
        };
        let login = |nonce: &str| {
            let claims = provider.claims("ann", nonce, world.clock.now().secs());
            short(tokens("access-1", "refresh-1", &signed(&claims)))
        };
        let (_, session, _) = world.arrive_at(&provider, login).await.expect("signed in");

        // The keys were fetched a moment ago, so they are not fetched again for a new one.
        let renewal = |number: usize, name: &str| {
            let mut claims = provider.claims("ann", "", world.clock.now().secs());
            claims["name"] = json!(name);
            claims = with(&claims, &json!({ "nonce": null }));
            let header = json!({ "alg": "RS256", "kid": "k2" });
            let (access, refresh) = (format!("access-{number}"), format!("refresh-{number}"));
            short(tokens(
                &access,
                &refresh,
                &signed_by_stranger(&header, &claims),
            ))
        };
        for number in [2, 3] {
            world.clock.advance(Duration::from_secs(12));
            provider.answer(200, &renewal(number, "Ann B."));
            let bearer = world.bearer(&session.access_token).await.expect("renewed");
            assert_eq!(bearer, format!("access-{number}"));
            let asked = provider.token_requests().pop().expect("a request");
            assert!(asked.contains(&format!("refresh_token=refresh-{}", number - 1)));
            assert_eq!(value(&world, &session, "USER_NAME").await, "User ann");
        }

        provider.publish_other_key(true);
        world.clock.advance(Duration::from_secs(30));
        provider.answer(200, &renewal(4, "Ann C."));
        let bearer = world.bearer(&session.access_token).await.expect("renewed");
        assert_eq!(bearer, "access-4");
        assert_eq!(value(&world, &session, "USER_NAME").await, "Ann C.");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_id_token_that_could_not_be_verified_is_asked_for_again() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        provider.publish_other_key(false);
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let as_long = json!({ "exp": world.clock.now().secs() + 300 });
        let session = arrive(&world, &provider, &as_long).await;
        let id_token = async || value(&world, &session, "ID_TOKEN").await;
        let old = id_token().await;
        let renewal = |number: usize| {
            let claims = provider.claims("ann", "", world.clock.now().secs());
            let claims = with(&claims, &json!({ "nonce": null }));
            let header = json!({ "alg": "RS256", "kid": "k2" });
            let new = signed_by_stranger(&header, &claims);
            let (access, refresh) = (format!("access-{number}"), format!("refresh-{number}"));
            provider.answer(200, &tokens(&access, &refresh, &new).to_string());
            new
        };
        let asked = || provider.token_requests().len();

        world.clock.advance(AGE);
        renewal(2);
        let before = asked();
        assert_eq!(id_token().await, old);
        assert_eq!(asked(), before + 1, "but its key is not known");
        world.clock.advance(Duration::from_secs(140));
        assert_eq!(id_token().await, "TOKEN_EXPIRED");
        assert_eq!(asked(), before + 1, "not at each call");

        provider.publish_other_key(true);
        world.clock.advance(Duration::from_secs(20));
        let new = renewal(3);
        assert_eq!(id_token().await, new);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_claim_that_the_newest_id_token_leaves_out_is_gone_unless_it_describes_the_user() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let allowed = [("COUNTERSIGN_CLAIMS", "cognito:groups,tenant,email_verified")];
        let world = World::trusting(engine, &provider.issuer, &allowed).await;
        let groups = json!({ "cognito:groups": ["users", "admins"], "tenant": "acme" });
        let session = arrive(&world, &provider, &groups).await;
        assert_eq!(
            value(&world, &session, "CLAIM_cognito:groups").await,
            "users,admins"
        );
        world.clock.advance(AGE);
        let lean = json!({
            "email": null, "email_verified": null, "name": null, "preferred_username": null, "nonce": null, "tenant": "acme",
        });
        let claims = provider.claims("ann", "", world.clock.now().secs());
        let id_token = signed(&with(&claims, &lean));
        provider.answer(
            200,
            &tokens("access-2", "refresh-2", &id_token).to_string(),
        );
        assert_eq!(
            world.bearer(&session.access_token).await.expect("renewed"),
            "access-2"
        );
        for (placeholder, expected) in [
            ("CLAIM_cognito:groups", "VALUE_MISSING"),
            ("CLAIM_tenant", "acme"),
            ("USER_EMAIL", "ann@example.net"),
            ("CLAIM_email_verified", "true"),
            ("USER_NAME", "User ann"),
        ] {
            assert_eq!(
                value(&world, &session, placeholder).await,
                expected,
                "{placeholder}"
            );
        }
        world.end().await;
    })
    .await;
}
