//! The token endpoint (RFC 6749 section 3.2). The responses of real providers deviate from the RFC,
//! so they are normalized before `oauth2` parses them.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet,
    EndpointSet, ExtraTokenFields, PkceCodeVerifier, RedirectUrl, RefreshToken, RequestTokenError,
    Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse as _, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::normalize::normalize;
use super::requests::Requests;
use crate::config::providers::ClientAuth;
use crate::error::{Cause, Error, Result};
use crate::http::{self as outbound, Request, Response, is_json};
use crate::jose;
use crate::metrics::Asked;
use crate::secret::{ExposeSecret as _, SecretString};

/// The client of `oauth2` with the endpoints that are set.
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

/// The ID token as text; only `verify` parses it.
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

/// The tokens that a token request returned.
pub(super) struct Answer {
    pub(super) access_token: SecretString,
    pub(super) expires_in: Option<Duration>,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) scopes: Option<Vec<String>>,
    pub(super) id_token: Option<SecretString>,
}

/// Why a token request returned no tokens.
#[derive(Debug)]
pub(super) enum Failure {
    /// The provider refused it with this error code (RFC 6749 section 5.2).
    Refused(String),
    /// The request had no effect: the code or refresh token was not used.
    NotProcessed(Cause),
    /// The provider may have processed the request, so a code or refresh token may have been used.
    InDoubt(Cause),
}

#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Http(#[from] outbound::Error),
    #[error("the token endpoint answered with status {0}")]
    Status(u16),
    #[error("the token endpoint's answer cannot be used: {0}")]
    Malformed(&'static str),
}

/// Our registration at a provider, and its endpoints.
pub(super) struct Registration<'a> {
    pub(super) client_id: &'a str,
    pub(super) client_secret: Option<&'a SecretString>,
    pub(super) auth_method: ClientAuth,
    pub(super) redirect_uri: &'a str,
    pub(super) authorization_endpoint: &'a Url,
    pub(super) token_endpoint: &'a Url,
}

/// Sets up the client of `oauth2` for a provider.
pub(super) fn client(registration: &Registration<'_>) -> Result<OauthClient> {
    let auth_type = match registration.auth_method {
        ClientAuth::Basic => AuthType::BasicAuth,
        ClientAuth::Post | ClientAuth::None => AuthType::RequestBody,
    };
    let client_id = ClientId::new(registration.client_id.to_owned());
    let mut client = oauth2::Client::new(client_id).set_auth_type(auth_type);
    if let Some(secret) = registration
        .client_secret
        .filter(|_| registration.auth_method != ClientAuth::None)
    {
        client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
    }
    let redirect_uri = RedirectUrl::new(registration.redirect_uri.to_owned());
    Ok(client
        .set_redirect_uri(redirect_uri.map_err(Error::internal)?)
        .set_auth_uri(AuthUrl::from_url(
            registration.authorization_endpoint.clone(),
        ))
        .set_token_uri(TokenUrl::from_url(registration.token_endpoint.clone())))
}

/// Exchanges an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
pub(super) async fn exchange(
    requests: &Requests,
    client: &OauthClient,
    code: &str,
    verifier: &SecretString,
) -> Result<Answer, Failure> {
    let request = client
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
    let outbound = Outbound(requests, Asked::Code);
    answer(request.request_async(&outbound).await)
}

/// What a refresh asks for.
pub(super) struct RefreshParams<'a> {
    /// None means what was granted before.
    pub(super) scopes: Vec<String>,
    /// Not in the standard, but Auth0 has it.
    pub(super) audience: Option<&'a str>,
}

/// Uses a refresh token (RFC 6749 section 6).
pub(super) async fn refresh(
    requests: &Requests,
    client: &OauthClient,
    token: &SecretString,
    params: RefreshParams<'_>,
) -> Result<Answer, Failure> {
    let token = RefreshToken::new(token.expose_secret().to_owned());
    let mut request = client
        .exchange_refresh_token(&token)
        .add_scopes(params.scopes.into_iter().map(Scope::new));
    if let Some(audience) = params.audience {
        request = request.add_extra_param("audience", audience);
    }
    let outbound = Outbound(requests, Asked::Refresh);
    answer(request.request_async(&outbound).await)
}

type CrateAnswer = Result<
    StandardTokenResponse<IdTokenText, BasicTokenType>,
    RequestTokenError<CallError, BasicErrorResponse>,
>;

fn answer(answer: CrateAnswer) -> Result<Answer, Failure> {
    let answer = answer.map_err(failure)?;
    let secret = |text: &str| SecretString::from(text);
    Ok(Answer {
        access_token: secret(answer.access_token().secret()),
        expires_in: answer.expires_in(),
        refresh_token: answer.refresh_token().map(|token| secret(token.secret())),
        scopes: answer
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect()),
        id_token: answer.extra_fields().id_token.as_deref().map(secret),
    })
}

/// The parse errors of `oauth2` contain the response, which may hold tokens, so they are not passed
/// on.
fn failure(error: RequestTokenError<CallError, BasicErrorResponse>) -> Failure {
    match error {
        RequestTokenError::ServerResponse(error) => {
            Failure::Refused(error_code(error.error().as_ref()))
        }
        RequestTokenError::Request(CallError::Http(error)) if !error.is_unsent() => {
            Failure::InDoubt(error.into())
        }
        RequestTokenError::Request(error @ CallError::Malformed(_)) => {
            Failure::InDoubt(error.into())
        }
        RequestTokenError::Request(error) => Failure::NotProcessed(error.into()),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            Failure::InDoubt("the token endpoint's answer cannot be parsed".into())
        }
    }
}

/// The provider's error code; any other text is replaced, because it ends up in errors and logs.
fn error_code(code: &str) -> String {
    let well_formed = (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if well_formed {
        code.to_owned()
    } else {
        "unknown_error".to_owned()
    }
}

/// Adapts our HTTP client to `oauth2`. It is a type and not a closure, because the compiler cannot
/// prove that the future of a closure is `Send` here.
struct Outbound<'a>(&'a Requests, Asked);

impl<'c> AsyncHttpClient<'c> for Outbound<'_> {
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, CallError>> + Send + 'c>>;

    fn call(&'c self, request: Request) -> Self::Future {
        Box::pin(call(self.0, self.1, request))
    }
}

async fn call(requests: &Requests, asked: Asked, request: Request) -> Result<Response, CallError> {
    let mut response = requests.send(asked, request).await?;
    let status = response.status();
    let members = if is_json(&response) {
        jose::object(response.body())
    } else {
        None
    };
    match members {
        // Some providers send errors with status 200.
        Some(members) if is_error(&members) && is_final(status) => {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        Some(members) if status == StatusCode::OK => {
            response.headers_mut().remove(CONTENT_TYPE);
            *response.body_mut() = normalize(members)
                .map_err(CallError::Malformed)?
                .to_string()
                .into_bytes();
        }
        _ if status.is_success() => {
            return Err(CallError::Malformed(
                "it is not a JSON object without repeated members",
            ));
        }
        _ => return Err(CallError::Status(status.as_u16())),
    }
    Ok(response)
}

fn is_error(members: &Map<String, Value>) -> bool {
    members.get("error").is_some_and(Value::is_string)
}

/// Whether an error with this status is about the request, rather than about the provider's own
/// state.
fn is_final(status: StatusCode) -> bool {
    status == StatusCode::OK
        || (status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_code_is_passed_on_and_other_text_is_not() {
        assert_eq!(error_code("invalid_grant"), "invalid_grant");
        assert_eq!(error_code("<script>"), "unknown_error");
        assert_eq!(error_code(""), "unknown_error");
    }
}
