//! The token endpoint (RFC 6749 section 3.2), with the answers of real providers made regular before the crate reads them.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields,
    PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::discovery::Metadata;
use super::fetch::is_json;
use crate::config::providers::{ClientAuth, OpenIdProvider};
use crate::error::{Cause, Error, Result};
use crate::http::{self as outbound, Client, Request, Response};
use crate::jose;
use crate::secret::{ExposeSecret as _, SecretString};

/// Longer than any token lives: a provider that says more says nothing.
const MAX_EXPIRES_IN: u64 = 10 * 365 * 24 * 60 * 60;

/// The crate's client with the provider's endpoints.
pub(super) type OauthClient = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenText, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// The ID token as it came; it is parsed by nobody before `verify`.
#[derive(Deserialize, Serialize)]
pub(super) struct IdTokenText {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdTokenText {}

impl fmt::Debug for IdTokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdTokenText").finish_non_exhaustive()
    }
}

/// What a token request brought.
pub(super) struct Answer {
    pub(super) access_token: SecretString,
    pub(super) expires_in: Option<Duration>,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) id_token: Option<SecretString>,
}

/// Why a token request brought nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider's answer is no, with this error code (RFC 6749 section 5.2).
    Refused(String),
    /// The request surely had no effect.
    NotNow(Cause),
    /// The request may have had its effect.
    InDoubt(Cause),
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Http(#[from] outbound::Error),
    #[error("the token endpoint's status is {0}")]
    Status(u16),
    #[error("the token endpoint's answer cannot be used: {0}")]
    Malformed(&'static str),
}

/// The crate's client for a provider.
pub(super) fn client(config: &OpenIdProvider, metadata: &Metadata) -> Result<OauthClient> {
    let mut client = oauth2::Client::new(ClientId::new(config.client_id.clone())).set_auth_type(match config.auth_method {
        ClientAuth::Basic => AuthType::BasicAuth,
        ClientAuth::Post | ClientAuth::None => AuthType::RequestBody,
    });
    if let Some(secret) = config.client_secret.as_ref().filter(|_| config.auth_method != ClientAuth::None) {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    Ok(client
        .set_redirect_uri(RedirectUrl::new(config.redirect_uri.clone()).map_err(Error::internal)?)
        .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone())))
}

/// Exchanges an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
pub(super) async fn exchange(http: &Client, client: &OauthClient, code: &str, verifier: &SecretString) -> Result<Answer, Failure> {
    let request = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
    answer(request.request_async(&Outbound(http)).await)
}

/// Uses a refresh token (RFC 6749 section 6).
pub(super) async fn refresh(http: &Client, client: &OauthClient, token: &SecretString) -> Result<Answer, Failure> {
    let token = RefreshToken::new(token.expose_secret().to_owned());
    answer(client.exchange_refresh_token(&token).request_async(&Outbound(http)).await)
}

type CrateAnswer = Result<StandardTokenResponse<IdTokenText, BasicTokenType>, RequestTokenError<CallError, BasicErrorResponse>>;

fn answer(answer: CrateAnswer) -> Result<Answer, Failure> {
    let answer = answer.map_err(failure)?;
    let secret = |text: &str| SecretString::from(text);
    Ok(Answer {
        access_token: secret(answer.access_token().secret()),
        expires_in: answer.expires_in(),
        refresh_token: answer.refresh_token().map(|token| secret(token.secret())),
        scopes: answer.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        id_token: answer.extra_fields().id_token.as_deref().map(secret),
    })
}

/// The crate's parse errors hold the answer, and with it tokens: they are not passed on.
fn failure(error: RequestTokenError<CallError, BasicErrorResponse>) -> Failure {
    match error {
        RequestTokenError::ServerResponse(error) => Failure::Refused(error_code(error.error().as_ref())),
        RequestTokenError::Request(CallError::Http(error)) if !error.is_unsent() => Failure::InDoubt(error.into()),
        RequestTokenError::Request(error @ CallError::Malformed(_)) => Failure::InDoubt(error.into()),
        RequestTokenError::Request(error) => Failure::NotNow(error.into()),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Failure::InDoubt("the token endpoint's answer cannot be read".into()),
    }
}

/// The provider's text, as far as it is a code.
fn error_code(code: &str) -> String {
    let shaped = (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if shaped { code.to_owned() } else { "unknown_error".to_owned() }
}

/// Our client as the crate wants it; a type of its own, because futures over a closure here are not provably `Send`.
struct Outbound<'a>(&'a Client);

impl<'c> AsyncHttpClient<'c> for Outbound<'_> {
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send + 'c>>;

    fn call(&'c self, request: Request) -> Self::Future {
        Box::pin(call(self.0, request))
    }
}

async fn call(http: &Client, request: Request) -> Result<Response, CallError> {
    let mut response = http.send(request).await?;
    let status = response.status();
    let members = if is_json(&response) { jose::object(response.body()) } else { None };
    match members {
        // Some providers send errors with status 200.
        Some(members) if is_error(&members) && is_final(status) => *response.status_mut() = StatusCode::BAD_REQUEST,
        Some(members) if status == StatusCode::OK => {
            response.headers_mut().remove(CONTENT_TYPE);
            *response.body_mut() = regular(members)?.to_string().into_bytes();
        }
        _ if status.is_success() => return Err(CallError::Malformed("it is not a JSON object without repeated members")),
        _ => return Err(CallError::Status(status.as_u16())),
    }
    Ok(response)
}

fn is_error(members: &Map<String, Value>) -> bool {
    members.get("error").is_some_and(Value::is_string)
}

/// Whether an error with this status is the provider's word on the request, rather than on its own state.
fn is_final(status: StatusCode) -> bool {
    status == StatusCode::OK || (status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
}

/// The answer's members that count, in the types of RFC 6749 section 5.1.
fn regular(mut members: Map<String, Value>) -> Result<Value, CallError> {
    let mut take = |name| members.remove(name).filter(|value| !value.is_null() && value != "");
    let text = |value: Option<Value>, what| match value {
        None | Some(Value::String(_)) => Ok(value),
        Some(_) => Err(CallError::Malformed(what)),
    };
    let token_type = take("token_type");
    if token_type.is_some_and(|name| !name.as_str().is_some_and(|name| name.eq_ignore_ascii_case("Bearer"))) {
        return Err(CallError::Malformed("the token is not a bearer token"));
    }
    let parts = [
        ("access_token", Some(text(take("access_token"), "the access token is not text")?.ok_or(CallError::Malformed("no access token"))?)),
        ("token_type", Some("Bearer".into())),
        ("expires_in", take("expires_in").and_then(|value| lifetime(&value)).map(Value::from)),
        ("refresh_token", text(take("refresh_token"), "the refresh token is not text")?),
        ("id_token", text(take("id_token"), "the ID token is not text")?),
        ("scope", take("scope").and_then(|value| scope(&value)).map(Value::from)),
    ];
    Ok(parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into())
}

/// Whole seconds from a number or its text; what is below zero is over, what is absurd is unknown.
fn lifetime(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    let seconds = seconds.filter(|seconds| seconds.is_finite())?;
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?.as_secs();
    (whole <= MAX_EXPIRES_IN).then_some(whole)
}

fn scope(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made_regular(answer: &Value) -> Result<Value, String> {
        regular(answer.as_object().expect("an object").clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn irregular_answers_are_made_regular() {
        let answer = json!({"access_token": "a", "expires_in": "3600", "scope": ["openid", "email"], "id_token": "", "extra": {}});
        let expected = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "scope": "openid email"});
        assert_eq!(made_regular(&answer), Ok(expected));
    }

    #[test]
    fn a_lifetime_is_whole_seconds_or_over_or_unknown() {
        let cases = [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(3600.9), Some(3600)),
            (json!(-1), Some(0)),
            (json!("-1"), Some(0)),
            (json!(0), Some(0)),
            (json!(1e18), None),
            (json!("1e400"), None),
            (json!("NaN"), None),
            (json!("soon"), None),
            (json!([]), None),
        ];
        for (value, expected) in cases {
            assert_eq!(lifetime(&value), expected, "{value}");
        }
    }

    #[test]
    fn answers_that_cannot_be_used_are_refused() {
        for answer in [
            json!({}),
            json!({"access_token": ""}),
            json!({"access_token": 7}),
            json!({"access_token": "a", "token_type": "mac"}),
            json!({"access_token": "a", "token_type": "DPoP"}),
            json!({"access_token": "a", "token_type": ["Bearer"]}),
            json!({"access_token": "a", "id_token": {}}),
            json!({"access_token": "a", "refresh_token": 7}),
        ] {
            assert!(made_regular(&answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn an_error_code_is_passed_on_and_other_text_is_not() {
        assert_eq!(error_code("invalid_grant"), "invalid_grant");
        assert_eq!(error_code("<script>"), "unknown_error");
        assert_eq!(error_code(""), "unknown_error");
    }
}
