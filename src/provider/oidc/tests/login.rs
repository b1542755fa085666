//! Login: authorization request, callback, code exchange and ID token.

use serde_json::json;

use super::provider::{
    Provider, jwk_of_other_key, ok, response, signed, signed_by_other_key, unsigned,
};
use super::*;

#[tokio::test]
async fn a_login_brings_tokens_and_verified_claims() {
    let idp = Idp::start().await;
    let (grant, claims) = idp.login_with(|_| {}).await.expect("a login");
    assert_eq!(claims.subject(), "ann-1");
    assert_eq!(grant.access_token.expose_secret(), "at-1");
    assert_eq!(grant.access_expire_time, NOW.plus(Duration::from_hours(1)));
    assert_eq!(
        grant
            .refresh_token
            .expect("a refresh token")
            .expose_secret(),
        "rt-1"
    );
    assert_eq!(
        grant.scopes.expect("scopes"),
        ["openid", "profile", "email"]
    );
    assert_eq!(
        grant.id_token.expect("an ID token").1,
        NOW.plus(Duration::from_hours(1))
    );
    let request = &idp.provider.seen("/token")[0];
    assert!(
        request.contains("authorization: Basic Y2hhdDpzM2NyZXQ=")
            && request.contains("code_verifier=verifier")
            && request.contains("code=c0de")
    );
    assert!(idp.provider.seen("/userinfo").is_empty());
}

#[tokio::test]
async fn the_authorization_request_carries_s256_state_and_nonce() {
    let idp = Idp::start().await;
    let begun = idp.client.authorization().await.expect("a request");
    let url = Url::parse(&begun.url).expect("a URL");
    let query: std::collections::BTreeMap<String, String> =
        url.query_pairs().into_owned().collect();
    let digest = crate::secret::sha256(begun.code_verifier.expose_secret().as_bytes());
    assert_eq!(
        query["code_challenge"],
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest)
    );
    assert_eq!(
        (
            query["code_challenge_method"].as_str(),
            query["response_type"].as_str()
        ),
        ("S256", "code")
    );
    assert_eq!(
        (&query["state"], &query["nonce"]),
        (&begun.state, &begun.nonce)
    );
    assert_eq!(
        (query["scope"].as_str(), query["client_id"].as_str()),
        ("openid profile email", "chat")
    );
    assert!(begun.state.len() == 43 && begun.nonce != begun.state);
}

#[tokio::test]
async fn an_id_token_with_a_claim_that_is_not_right_is_refused() {
    let idp = Idp::start().await;
    let now = NOW.secs();
    for (name, value) in [
        ("nonce", json!(null)),
        ("nonce", json!("another")),
        ("nonce", json!(7)),
        ("aud", json!("other")),
        ("aud", json!(["chat", "evil"])),
        ("aud", json!("cha")),
        ("aud", json!(null)),
        ("aud", json!([])),
        ("aud", json!({})),
        ("aud", json!(["chat", "chat"])),
        ("azp", json!("other")),
        ("azp", json!(["chat"])),
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", idp.provider.issuer))),
        ("iss", json!([idp.provider.issuer])),
        ("iss", json!(null)),
        ("sub", json!("")),
        ("sub", json!(" ")),
        ("sub", json!("a\r\nb")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!("undefined")),
        ("sub", json!("null")),
        ("sub", json!(7)),
        ("sub", json!(null)),
        ("exp", json!(now - 60)),
        ("exp", json!(1e18)),
        ("exp", json!(null)),
        ("iat", json!(now + 61)),
        ("iat", json!(0)),
        ("iat", json!(null)),
        ("nbf", json!(now + 61)),
        ("nbf", json!("soon")),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        ("at_hash", json!(7)),
    ] {
        let error = idp
            .login_with(|claims| claims[name] = value.clone())
            .await
            .expect_err("refused");
        assert!(
            matches!(error, Error::IdTokenInvalid(_)),
            "{name} {value}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_further_audience_is_accepted_only_if_it_is_trusted_and_azp_is_the_client() {
    let provider = Provider::start().await;
    let mut config = provider_config(&provider.issuer);
    config.trusted_audiences = vec!["project-7".into(), "api".into()];
    let idp = Idp::of(provider, config);
    for (aud, azp, accepted) in [
        (json!("chat"), json!(null), true),
        (json!(["chat", "project-7"]), json!("chat"), true),
        (json!(["api", "chat", "project-7"]), json!("chat"), true),
        (json!(["chat", "project-7"]), json!(null), false),
        (json!(["chat", "project-7"]), json!("project-7"), false),
        (json!(["chat", "project-7"]), json!(["chat"]), false),
        (json!(["chat", "project-7", "evil"]), json!("chat"), false),
        (json!(["chat", 7]), json!("chat"), false),
        (json!(["project-7"]), json!("chat"), false),
        (json!("project-7"), json!("chat"), false),
        (json!("project-7"), json!("project-7"), false),
    ] {
        let login = idp.login_with(|claims| {
            claims["aud"] = aud.clone();
            claims["azp"] = azp.clone();
        });
        match login.await {
            Ok(_) => assert!(accepted, "{aud} {azp}"),
            Err(error) => assert!(
                !accepted && matches!(error, Error::IdTokenInvalid(_)),
                "{aud} {azp}: {error:?}"
            ),
        }
    }
}

#[tokio::test]
async fn claims_at_the_edge_of_what_is_right_pass() {
    let idp = Idp::start().await;
    let now = NOW.secs();
    let at_hash = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        &crate::secret::sha256(b"at-1")[..16],
    );
    for (name, value) in [
        ("exp", json!(now - 59)),
        ("iat", json!(now + 60)),
        ("iat", json!(now - 3600)),
        ("nbf", json!(now + 60)),
        ("aud", json!(["chat"])),
        ("azp", json!("chat")),
        ("at_hash", json!(at_hash)),
        ("sub", json!("x".repeat(255))),
        ("email_verified", json!("true")),
        ("updated_at", json!("2026-01-01T00:00:00.000Z")),
    ] {
        idp.login_with(|claims| claims[name] = value.clone())
            .await
            .unwrap_or_else(|error| panic!("{name} {value}: {error:?}"));
    }
}

#[tokio::test]
async fn a_signature_that_is_not_the_providers_is_refused() {
    let idp = Idp::start().await;
    let claims = idp.claims();
    let header = |alg: &str| json!({"alg": alg, "kid": "k1"});
    let hs256 = |secret: &[u8]| {
        let input = unsigned(&header("HS256"), &claims);
        let mac = aws_lc_rs::hmac::sign(
            &aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret),
            input.as_bytes(),
        );
        format!(
            "{input}.{}",
            base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, mac)
        )
    };
    let good = signed(&header("RS256"), &claims);
    for token in [
        signed_by_other_key(&header("RS256"), &claims),
        signed_by_other_key(&json!({"alg": "RS256"}), &claims),
        signed_by_other_key(
            &json!({"alg": "RS256", "kid": "k1", "jwk": jwk_of_other_key("k1")}),
            &claims,
        ),
        signed(&header("PS256"), &claims),
        signed(&header("ES256"), &claims),
        signed(&json!({"alg": "RS256", "kid": "unknown"}), &claims),
        signed(
            &json!({"alg": "RS256", "kid": "k1", "crit": ["exp"]}),
            &claims,
        ),
        signed(
            &json!({"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}),
            &claims,
        ),
        hs256(b"s3cret"),
        hs256(b""),
        format!("{}.", unsigned(&header("none"), &claims)),
        format!("{}.", good.rsplit_once('.').expect("a signature").0),
        "x".repeat(65 * 1024),
    ] {
        idp.provider.token(answer_with(&token));
        let error = idp.exchange().await.expect_err("refused");
        assert!(matches!(error, Error::IdTokenInvalid(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_login_without_an_id_token_is_refused() {
    let idp = Idp::start().await;
    for id_token in [json!(""), json!(null)] {
        idp.provider
            .token(ok(&json!({"access_token": "at-1", "id_token": id_token})));
        assert!(matches!(
            idp.exchange().await,
            Err(Error::IdTokenInvalid(_))
        ));
    }
}

#[tokio::test]
async fn a_callback_of_another_issuer_is_refused_before_any_token_call() {
    let idp = Idp::start().await;
    let issuer = idp.provider.issuer.clone();
    idp.client
        .check_callback_iss(Some(&issuer))
        .await
        .expect("the same");
    idp.client
        .check_callback_iss(None)
        .await
        .expect("not advertised");
    for iss in [
        "",
        "https://honest.example",
        &format!("{issuer}/"),
        &issuer.replacen("://", "%3A%2F%2F", 1),
    ] {
        assert!(
            matches!(
                idp.client.check_callback_iss(Some(iss)).await,
                Err(Error::IdTokenInvalid(_))
            ),
            "{iss}"
        );
    }
    let advertising = Idp::start_with(|document| {
        document["authorization_response_iss_parameter_supported"] = json!(true);
    })
    .await;
    assert!(matches!(
        advertising.client.check_callback_iss(None).await,
        Err(Error::IdTokenInvalid(_))
    ));
    assert!(
        idp.provider.seen("/token").is_empty() && advertising.provider.seen("/token").is_empty()
    );
}

#[tokio::test]
async fn a_token_endpoint_that_answers_nonsense_fails_the_login() {
    let idp = Idp::start().await;
    let id_token = signed(&json!({"alg": "RS256", "kid": "k1"}), &idp.claims());
    let twice = format!(r#"{{"access_token":"a","access_token":"b","id_token":"{id_token}"}}"#);
    for answer in [
        response(200, "text/html", b"<html>"),
        response(200, "text/html", br#"{"access_token":"a"}"#),
        response(200, "application/json", b""),
        response(200, "application/json", b"\x1f\x8b\x08"),
        response(200, "application/json", twice.as_bytes()),
        response(200, "application/json", &vec![b' '; 1024 * 1024 + 1]),
        response(302, "application/json", b"{}"),
        response(500, "application/json", br#"{"error":"server_error"}"#),
        ok(&json!({"access_token": "a", "token_type": "mac", "id_token": id_token})),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_vec(),
    ] {
        idp.provider.token(answer);
        let error = idp.exchange().await.expect_err("refused");
        assert!(matches!(error, Error::ProviderUnavailable(_)), "{error:?}");
    }
    for status in [200, 400, 401] {
        idp.provider.token(response(
            status,
            "application/json",
            br#"{"error":"invalid_grant","error_description":"x"}"#,
        ));
        assert!(
            matches!(idp.exchange().await, Err(Error::ProviderRefused(code)) if code == "invalid_grant")
        );
    }
}

#[tokio::test]
async fn an_unknown_lifetime_is_five_minutes_and_a_negative_one_is_over() {
    let idp = Idp::start().await;
    let id_token = signed(&json!({"alg": "RS256", "kid": "k1"}), &idp.claims());
    for (expires_in, expected) in [
        (json!(null), 300),
        (json!(1e18), 300),
        (json!("60"), 60),
        (json!(-1), 0),
    ] {
        idp.provider.token(ok(
            &json!({"access_token": "at-1", "id_token": id_token, "expires_in": expires_in}),
        ));
        let (grant, _) = idp.exchange().await.expect("a login");
        assert_eq!(
            grant.access_expire_time,
            NOW.plus(Duration::from_secs(expected)),
            "{expires_in}"
        );
    }
}

#[tokio::test]
async fn userinfo_fills_a_missing_address_and_is_discarded_when_it_is_anothers() {
    let idp = Idp::start().await;
    let without_email = |claims: &mut Value| {
        claims["email"] = json!(null);
        claims["email_verified"] = json!(true);
    };
    idp.provider.userinfo(ok(
        &json!({"sub": "ann-1", "email": "ann@x.example", "name": "Mallory", "roles": ["admin"]}),
    ));
    let (_, claims) = idp.login_with(without_email).await.expect("a login");
    let profile = profile::profile(claims.members(), &idp.client.config().claims);
    assert_eq!(profile.email.as_deref(), Some("ann@x.example"));
    assert!(
        !profile.email_verified,
        "the ID token's flag was about no address"
    );
    assert!(claims.members().get("roles").is_none());
    assert!(idp.provider.seen("/userinfo")[0].contains("authorization: Bearer at-1"));
    for answer in [
        ok(&json!({"sub": "bob", "email": "bob@x.example"})),
        ok(&json!({"email": "bob@x.example"})),
        response(200, "application/jwt", b"a.b.c"),
        response(500, "application/json", b"{}"),
    ] {
        idp.provider.userinfo(answer);
        let (_, claims) = idp.login_with(without_email).await.expect("a login");
        assert_eq!(
            profile::profile(claims.members(), &idp.client.config().claims).email,
            None
        );
    }
}

#[tokio::test]
async fn the_client_proves_itself_as_configured() {
    for (method, secret, in_header, in_body) in [
        (ClientAuth::Basic, Some("s3cret"), true, false),
        (ClientAuth::Post, Some("s3cret"), false, true),
        (ClientAuth::None, Some("s3cret"), false, false),
        (ClientAuth::None, None, false, false),
    ] {
        let provider = Provider::start().await;
        let mut config = provider_config(&provider.issuer);
        config.auth_method = method;
        config.client_secret = secret.map(Into::into);
        let idp = Idp::of(provider, config);
        idp.login_with(|_| {}).await.expect("a login");
        let request = &idp.provider.seen("/token")[0];
        assert_eq!(
            request.contains("authorization: Basic"),
            in_header,
            "{method:?}"
        );
        assert_eq!(
            request.contains("client_secret=s3cret"),
            in_body,
            "{method:?}"
        );
        assert_eq!(request.contains("client_id=chat"), !in_header, "{method:?}");
    }
}
