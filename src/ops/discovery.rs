//! The public keys of access tokens and where they are, for those who verify tokens themselves.

use std::net::SocketAddr;
use std::sync::OnceLock;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use super::text::text;
use crate::token::Tokens;

pub(super) const JWKS: &str = "/.well-known/jwks.json";
pub(super) const METADATA: &str = "/.well-known/openid-configuration";

/// How long others may keep an answer, and so how late they may learn that a key was revoked.
const CACHE: &str = "public, max-age=60";
const JSON: &str = "application/json";

/// What is told of tokens.
#[derive(Debug)]
pub(super) struct Discovery {
    /// The listener's address as others reach it, without a trailing slash.
    base: Option<String>,
    /// There are none before the store is open.
    tokens: OnceLock<Tokens>,
}

impl Discovery {
    /// Without a configured URL, a listener on loopback is reached at its own address.
    pub(super) fn new(url: Option<String>, address: SocketAddr) -> Self {
        let is_local = address.ip().to_canonical().is_loopback();
        let base = url.or_else(|| is_local.then(|| format!("http://{address}")));
        let tokens = OnceLock::new();
        Self { base, tokens }
    }

    /// Tells the keys of these tokens from now on.
    pub(super) fn publish(&self, tokens: Tokens) {
        // It is called once.
        let _is_published = self.tokens.set(tokens);
    }

    /// The JSON Web Key Set (RFC 7517 section 5).
    pub(super) fn jwks(&self, request: &HeaderMap) -> Response<String> {
        let Some(tokens) = self.tokens.get() else {
            return too_early();
        };
        let jwks = tokens.jwks();
        let mut response = cached(String::new());
        if let Ok(etag) = HeaderValue::from_str(&jwks.etag) {
            response.headers_mut().insert(ETAG, etag);
        }
        if is_known(request, &jwks.etag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            response.body_mut().clone_from(&jwks.json);
        }
        response
    }

    /// The metadata of the issuer (OpenID Connect Discovery 1.0 section 3), as far as there is anything
    /// to tell: users do not sign in over HTTP, and no ID tokens are issued.
    pub(super) fn metadata(&self) -> Response<String> {
        let Some(tokens) = self.tokens.get() else {
            return too_early();
        };
        let Some(base) = &self.base else {
            return text(
                StatusCode::NOT_FOUND,
                "set COUNTERSIGN_OPS_URL to the address at which others reach this listener",
            );
        };
        let metadata = json!({
            "issuer": tokens.issuer(),
            "jwks_uri": format!("{base}{JWKS}"),
            "response_types_supported": [],
            "grant_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": tokens.jwks().algorithms,
        });
        cached(metadata.to_string())
    }
}

fn cached(json: String) -> Response<String> {
    let mut response = Response::new(json);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(CACHE));
    response
}

fn too_early() -> Response<String> {
    let mut response = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the signing keys are not read yet",
    );
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Whether the request says that it has the answer with this tag (RFC 9110 section 13.1.2).
fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let stated = request.get_all(IF_NONE_MATCH).iter();
    let stated = stated.filter_map(|value| value.to_str().ok());
    stated
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == etag)
}
