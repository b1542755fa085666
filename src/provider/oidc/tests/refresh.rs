//! Renewed tokens.

use serde_json::json;

use super::provider::{Provider, jwk_of_other_key, ok, response, signed, signed_by_other_key};
use super::*;

#[tokio::test]
async fn a_refresh_brings_new_tokens_with_or_without_an_id_token() {
    let idp = Idp::start().await;
    idp.provider.token(ok(
        &json!({"access_token": "at-2", "expires_in": 60, "scope": "openid"}),
    ));
    let (grant, claims) = idp.refresh().await.expect("renewed");
    assert_eq!((grant.access_token.expose_secret(), claims), ("at-2", None));
    assert!(grant.refresh_token.is_none() && grant.id_token.is_none());
    assert_eq!(grant.scopes.expect("scopes"), ["openid"]);
    assert!(idp.provider.seen("/token")[0].contains("grant_type=refresh_token&refresh_token=rt-1"));
    for nonce in [json!(null), json!("n-1")] {
        let mut claims = idp.claims();
        claims["nonce"] = nonce;
        idp.provider.token(answer_with(&signed(
            &json!({"alg": "RS256", "kid": "k1"}),
            &claims,
        )));
        assert_eq!(
            idp.refresh()
                .await
                .expect("renewed")
                .1
                .expect("claims")
                .subject(),
            "ann-1"
        );
    }
}

#[tokio::test]
async fn the_claims_after_a_refresh_are_those_of_its_id_token_and_what_describes_the_user() {
    let idp = Idp::start().await;
    idp.answers_with(|claims| claims["email"] = json!(null));
    let (_, claims) = idp.refresh().await.expect("renewed");
    let claims = claims.expect("claims");
    assert_eq!(claims.members()["email"], "ann@x.example");
    assert!(!claims.members().contains_key("groups"));
}

#[tokio::test]
async fn a_refresh_asks_for_the_configured_scopes_and_audience() {
    let asked = async |change: fn(&mut OpenIdProvider), refused: bool| {
        let provider = Provider::start().await;
        let mut config = provider_config(&provider.issuer);
        change(&mut config);
        let idp = Idp::of(provider, config);
        let refusal = br#"{"error":"invalid_scope"}"#;
        if refused {
            idp.provider
                .token_once(response(400, "application/json", refusal));
        }
        idp.answers_with(|_| {});
        idp.refresh().await.expect("renewed");
        let body = |request: String| request.split_once("\r\n\r\n").expect("a body").1.to_owned();
        let bodies = idp.provider.seen("/token").into_iter().map(body);
        bodies.collect::<Vec<_>>()
    };
    let bare = "grant_type=refresh_token&refresh_token=rt-1";
    let scoped = format!("{bare}&scope=openid+profile+email");
    assert_eq!(asked(|_| {}, false).await, [bare]);
    assert_eq!(
        asked(|config| config.scopes_on_refresh = true, false).await,
        [scoped.as_str()]
    );
    assert_eq!(
        asked(|config| config.scopes_on_refresh = true, true).await,
        [scoped.as_str(), bare]
    );
    let audience = |config: &mut OpenIdProvider| config.refresh_audience = Some("api".into());
    assert_eq!(
        asked(audience, false).await,
        [format!("{bare}&audience=api")]
    );
}

/// A provider's ID token may be for an audience beside the client.
async fn trusting_project_7() -> Idp {
    let provider = Provider::start().await;
    let mut config = provider_config(&provider.issuer);
    config.trusted_audiences = vec!["project-7".into()];
    Idp::of(provider, config)
}

#[tokio::test]
async fn a_refreshed_id_token_that_is_proven_wrong_is_refused() {
    let idp = trusting_project_7().await;
    for (name, value) in [
        ("sub", json!("bob")),
        ("iss", json!("https://evil.example")),
        ("aud", json!("other")),
        ("azp", json!("other")),
        ("nonce", json!("another")),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ] {
        idp.answers_with(|claims| claims[name] = value.clone());
        let refused = idp.refresh().await;
        assert!(matches!(refused, Err(RefreshError::Invalid(_))), "{name}");
    }
    idp.answers_with(|claims| {
        claims["aud"] = json!(["chat", "project-7"]);
        claims["sub"] = json!("bob");
    });
    assert!(
        matches!(idp.refresh().await, Err(RefreshError::Invalid(_))),
        "it lacks azp, but it is another user's all the same"
    );
    let forged = signed_by_other_key(&json!({"alg": "RS256", "kid": "k1"}), &idp.claims());
    idp.provider.token(answer_with(&forged));
    assert!(matches!(idp.refresh().await, Err(RefreshError::Invalid(_))));
    let mut anothers = idp.claims();
    anothers["sub"] = json!("bob");
    let unverifiable = signed_by_other_key(&json!({"alg": "RS256", "kid": "k2"}), &anothers);
    idp.provider.token(answer_with(&unverifiable));
    assert!(
        matches!(idp.refresh().await, Err(RefreshError::Invalid(_))),
        "it says itself that it is another user's"
    );
}

/// New tokens without claims: the ID token was dropped.
fn assert_dropped(
    refreshed: Result<(Grant, Option<VerifiedClaims>), RefreshError>,
    refresh_token: &str,
) {
    let (grant, claims) = refreshed.expect("renewed");
    assert!(claims.is_none() && grant.id_token.is_none());
    let kept = grant.refresh_token.expect("a refresh token");
    assert_eq!(kept.expose_secret(), refresh_token);
}

#[tokio::test]
async fn new_tokens_are_kept_while_the_provider_replaces_its_key() {
    let idp = Idp::start().await;
    idp.login_with(|_| {}).await.expect("a login");
    for header in [
        json!({"alg": "RS256", "kid": "k2"}),
        json!({"alg": "RS256"}),
    ] {
        let token = signed_by_other_key(&header, &idp.claims());
        idp.provider.token(answer_with(&token));
        assert_dropped(idp.refresh().await, "rt-1");
        assert!(matches!(
            idp.exchange().await,
            Err(Error::IdTokenInvalid(_))
        ));
    }
    assert_eq!(idp.provider.seen("/keys").len(), 1, "fetched a moment ago");

    idp.provider.keys(response(500, "text/plain", b""));
    idp.clock.advance(Duration::from_secs(30));
    assert_dropped(idp.refresh().await, "rt-1");

    let mut key = jwk_of_other_key("k2");
    key.as_object_mut().expect("an object").remove("kid");
    idp.provider.keys(ok(&json!({ "keys": [key] })));
    idp.clock.advance(Duration::from_secs(30));
    let (_, claims) = idp.refresh().await.expect("renewed");
    assert_eq!(claims.expect("the new key verifies it").subject(), "ann-1");
}

#[tokio::test]
async fn new_tokens_are_kept_if_only_the_keys_cannot_be_fetched() {
    let idp = Idp::start().await;
    idp.provider.keys(response(500, "text/plain", b""));
    idp.answers_with(|_| {});
    assert_dropped(idp.refresh().await, "rt-1");
}

#[tokio::test]
async fn a_refreshed_id_token_that_cannot_be_used_is_dropped() {
    let idp = trusting_project_7().await;
    for (name, value) in [
        ("exp", json!(NOW.secs() - 3600)),
        ("iat", json!(NOW.secs() - 2 * 3600)),
        ("iat", json!(NOW.secs() + 120)),
        ("nbf", json!(NOW.secs() + 120)),
        ("aud", json!(["chat", "project-7"])),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!("undefined")),
        ("sub", json!("x".repeat(256))),
    ] {
        idp.answers_with(|claims| claims[name] = value.clone());
        assert_dropped(idp.refresh().await, "rt-1");
    }
    for token in [
        signed(&json!({"alg": "ES256", "kid": "k1"}), &idp.claims()),
        "a.b.c".to_owned(),
        "x".repeat(65 * 1024),
    ] {
        idp.provider.token(answer_with(&token));
        assert_dropped(idp.refresh().await, "rt-1");
    }
}

#[tokio::test]
async fn a_failed_refresh_says_whether_the_refresh_token_can_still_be_used() {
    let idp = Idp::start().await;
    let error = |code: &str| json!({ "error": code }).to_string().into_bytes();
    for code in ["invalid_grant", "interaction_required"] {
        idp.provider
            .token(response(400, "application/json", &error(code)));
        assert!(
            matches!(idp.refresh().await, Err(RefreshError::Refused(refused)) if refused == code)
        );
    }
    for (status, body) in [
        (400, error("invalid_client")),
        (429, error("slow_down")),
        (503, Vec::new()),
        (500, error("invalid_grant")),
        (403, b"no".to_vec()),
    ] {
        idp.provider
            .token(response(status, "application/json", &body));
        assert!(
            matches!(idp.refresh().await, Err(RefreshError::Transient(_))),
            "{status}"
        );
    }
    for answer in [
        response(200, "application/json", b"{"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_vec(),
        Vec::new(),
    ] {
        idp.provider.token(answer);
        assert!(matches!(idp.refresh().await, Err(RefreshError::InDoubt(_))));
    }
    let unknown = Owner {
        issuer: "https://other.example",
        subject: "ann-1",
        claims: &serde_json::Map::new(),
    };
    assert!(matches!(
        idp.client.refresh(&"rt-1".into(), &unknown, NOW).await,
        Err(RefreshError::Transient(_))
    ));
}
