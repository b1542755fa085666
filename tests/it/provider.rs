//! The provider that the tests use behaves as they expect.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::support::browser::{Callback, sign_in};
use crate::support::provider::{CLIENT_ID, CLIENT_SECRET, Provider, REDIRECT_URI};

const VERIFIER: &str = "a-code-verifier-of-the-tests-that-is-long-enough";

#[tokio::test]
async fn a_user_signs_in_through_the_forms_and_the_tokens_can_be_renewed() {
    let provider = Provider::start(json!({ "access_token_ttl": 20 })).await;
    let callback = sign_in(&authorization_url(&provider), "ann").await;
    assert_eq!(
        (callback.state.as_str(), callback.iss.as_str()),
        ("a-state", provider.issuer.as_str())
    );

    let (status, tokens) = redeem(&provider, &callback).await;
    assert_eq!(
        (status, &tokens["expires_in"]),
        (200, &json!(20)),
        "{tokens}"
    );
    let refresh = tokens["refresh_token"]
        .as_str()
        .expect("a refresh token")
        .to_owned();
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.as_str()),
    ];

    provider.change(json!({ "access_token_ttl": 3600 })).await;
    provider.fail(json!({ "status": 503, "times": 1 })).await;
    assert_eq!(token(&provider, &refresh).await.0, 503);
    assert_eq!(token(&provider, &refresh).await.1["expires_in"], 3600);
    assert_eq!(token(&provider, &refresh).await.1["error"], "invalid_grant");

    let asked = provider.stats().await;
    assert_eq!(
        (
            asked.refreshes(),
            asked.successes["refresh_token"],
            asked.failures["refresh_token"]
        ),
        (3, 1, 2),
        "{asked:?}"
    );
    assert_eq!(
        (
            asked.discovery,
            asked.jwks,
            asked.userinfo,
            asked.max_parallel
        ),
        (0, 0, 0, 1),
        "{asked:?}"
    );
}

fn authorization_url(provider: &Provider) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, VERIFIER.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let mut url = Url::parse(&format!("{}/auth", provider.issuer)).expect("an address");
    url.query_pairs_mut().extend_pairs([
        ("client_id", CLIENT_ID),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT_URI),
        ("scope", "openid profile email"),
        ("state", "a-state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    url.into()
}

async fn redeem(provider: &Provider, callback: &Callback) -> (u16, Value) {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", callback.code.as_str()),
        ("redirect_uri", REDIRECT_URI),
        ("code_verifier", VERIFIER),
    ];
    token(provider, &form).await
}

async fn token(provider: &Provider, form: &[(&str, &str)]) -> (u16, Value) {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let request = http
        .post(format!("{}/token", provider.issuer))
        .header(
            AUTHORIZATION,
            format!(
                "Basic {}",
                STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
            ),
        )
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Serializer::new(String::new()).extend_pairs(form).finish());
    let answer = request.send().await.expect("the provider answers");
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_slice(&answer.bytes().await.expect("an answer")).expect("JSON"),
    )
}
