//! Discovery, keys and logout.

use serde_json::json;

use super::provider::{Provider, jwk_of_other_key, ok, response, signed_by_other_key};
use super::*;

#[tokio::test]
async fn a_discovery_that_is_not_right_makes_the_provider_unavailable_and_is_tried_again() {
    let provider = Provider::start().await;
    let issuer = provider.issuer.clone();
    let idp = Idp::of(provider, provider_config(&issuer));
    for answer in [
        response(500, "application/json", b"{}"),
        response(200, "text/html", b"{}"),
        response(200, "application/json", b"{\"issuer\""),
        response(302, "application/json", b"{}"),
        ok(&json!({"issuer": issuer})),
        response(200, "application/json", &vec![b' '; 1024 * 1024 + 1]),
    ] {
        idp.provider.raw_discovery(answer);
        assert!(matches!(
            idp.client.authorization().await,
            Err(Error::ProviderUnavailable(_))
        ));
        idp.clock.advance(Duration::from_secs(3));
    }
    for (member, value) in [
        ("issuer", json!("https://evil.example")),
        ("issuer", json!(format!("{issuer}//"))),
        ("token_endpoint", json!("http://idp.example/token")),
        ("jwks_uri", json!("https://169.254.169.254/keys")),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        idp.provider
            .discovery(|document| document[member] = value.clone());
        assert!(
            matches!(
                idp.client.authorization().await,
                Err(Error::ProviderUnavailable(_))
            ),
            "{member} {value}"
        );
        idp.clock.advance(Duration::from_secs(3));
    }
    idp.provider.discovery(|_| {});
    assert!(idp.client.authorization().await.is_ok());
}

#[tokio::test]
async fn a_failed_discovery_is_not_repeated_at_once_and_a_good_one_not_soon() {
    let idp = Idp::start().await;
    idp.provider
        .raw_discovery(response(500, "application/json", b"{}"));
    for _ in 0..3 {
        assert!(idp.client.authorization().await.is_err());
    }
    assert_eq!(
        idp.provider.seen("/.well-known/openid-configuration").len(),
        1
    );
    idp.provider.discovery(|_| {});
    idp.clock.advance(Duration::from_secs(3));
    for _ in 0..3 {
        assert!(idp.client.authorization().await.is_ok());
    }
    assert_eq!(
        idp.provider.seen("/.well-known/openid-configuration").len(),
        2
    );
}

#[tokio::test]
async fn the_configured_issuer_may_differ_by_what_configurations_append() {
    for appended in ["/", "/.well-known/openid-configuration"] {
        let provider = Provider::start().await;
        let config = provider_config(&format!("{}{appended}", provider.issuer));
        let idp = Idp::of(provider, config);
        assert_eq!(
            idp.client.issuer().await.expect("the pinned issuer"),
            idp.provider.issuer
        );
        idp.login_with(|_| {}).await.expect("a login");
    }
    let slashed = Idp::start_with(|document| {
        document["issuer"] = json!(format!("{}/", document["issuer"].as_str().expect("text")));
    })
    .await;
    assert!(
        slashed.login_with(|_| {}).await.is_err(),
        "the pinned issuer has a slash, the token's has none"
    );
    let issuer = format!("{}/", slashed.provider.issuer);
    slashed
        .login_with(|claims| claims["iss"] = json!(issuer))
        .await
        .expect("byte for byte");
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_in_thirty_seconds() {
    let idp = Idp::start().await;
    idp.login_with(|_| {}).await.expect("a login");
    idp.provider
        .keys(ok(&json!({"keys": [jwk_of_other_key("k2")]})));
    let token = signed_by_other_key(&json!({"alg": "RS256", "kid": "k2"}), &idp.claims());
    idp.provider.token(answer_with(&token));
    for _ in 0..5 {
        assert!(matches!(
            idp.exchange().await,
            Err(Error::IdTokenInvalid(_))
        ));
    }
    assert_eq!(idp.provider.seen("/keys").len(), 1, "fetched a moment ago");
    idp.clock.advance(Duration::from_secs(30));
    idp.exchange().await.expect("the new key");
    assert_eq!(idp.provider.seen("/keys").len(), 2);
}

#[tokio::test]
async fn a_set_of_too_many_keys_is_not_used_and_the_last_good_one_is() {
    let idp = Idp::start().await;
    let keys: Vec<_> = (0..101).map(|n| jwk_of_other_key(&n.to_string())).collect();
    idp.provider.keys(ok(&json!({ "keys": keys })));
    assert!(matches!(
        idp.login_with(|_| {}).await,
        Err(Error::ProviderUnavailable(_))
    ));
    let idp = Idp::start().await;
    idp.login_with(|_| {}).await.expect("a login");
    idp.provider.keys(ok(&json!({ "keys": keys })));
    idp.clock.advance(Duration::from_hours(1));
    idp.login_with(|_| {}).await.expect("the last good keys");
}

#[tokio::test]
async fn a_replaced_key_without_an_id_is_found_too() {
    let idp = Idp::start().await;
    idp.login_with(|_| {}).await.expect("a login");
    idp.clock.advance(Duration::from_secs(30));
    let mut key = jwk_of_other_key("k2");
    key.as_object_mut().expect("an object").remove("kid");
    idp.provider.keys(ok(&json!({ "keys": [key] })));
    idp.provider.token(answer_with(&signed_by_other_key(
        &json!({"alg": "RS256"}),
        &idp.claims(),
    )));
    idp.exchange().await.expect("the new key");
}

#[tokio::test]
async fn the_last_good_keys_and_metadata_serve_through_an_outage() {
    let idp = Idp::start().await;
    idp.login_with(|_| {}).await.expect("a login");
    idp.provider.keys(response(500, "text/plain", b""));
    idp.provider.raw_discovery(response(500, "text/plain", b""));
    idp.clock.advance(Duration::from_hours(2));
    idp.login_with(|_| {})
        .await
        .expect("a login during the outage");
}

#[tokio::test]
async fn the_end_session_url_is_offered_if_configured() {
    let idp = Idp::start().await;
    assert_eq!(idp.client.end_session_url(None).await, None);
    let mut config = provider_config(&idp.provider.issuer);
    config.end_session = Some(EndSession { redirect_uri: None });
    let idp = Idp::of(idp.provider, config);
    let bare = format!("{}/logout?client_id=chat", idp.provider.issuer);
    assert_eq!(idp.client.end_session_url(None).await, Some(bare.clone()));
    assert_eq!(
        idp.client.end_session_url(Some(&"a.b.c".into())).await,
        Some(format!("{bare}&id_token_hint=a.b.c"))
    );
    assert_eq!(
        idp.client
            .end_session_url(Some(&"x".repeat(2000).into()))
            .await,
        Some(bare)
    );
}

#[tokio::test]
async fn the_end_session_url_says_where_the_browser_goes_after_the_logout() {
    let provider = Provider::start().await;
    let mut config = provider_config(&provider.issuer);
    config.end_session = Some(EndSession {
        redirect_uri: Some("https://chat.example/login?a=b".into()),
    });
    let idp = Idp::of(provider, config);
    let bare = format!(
        "{}/logout?client_id=chat&post_logout_redirect_uri=https%3A%2F%2Fchat.example%2Flogin%3Fa%3Db",
        idp.provider.issuer
    );
    assert_eq!(
        idp.client.end_session_url(Some(&"a.b.c".into())).await,
        Some(format!("{bare}&id_token_hint=a.b.c"))
    );
    assert_eq!(
        idp.client
            .end_session_url(Some(&"x".repeat(2000).into()))
            .await,
        Some(bare)
    );
}
