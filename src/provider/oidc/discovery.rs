//! A provider's discovery document (OpenID Connect Discovery section 4, RFC 8414).

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::super::fetch;
use super::super::requests::Requests;
use crate::config::providers::{DISCOVERY_PATH, normalized_issuer};
use crate::error::Cause;
use crate::http::Client;
use crate::jose;
use crate::metrics::Asked;

/// A checked discovery document: its issuer is the configured one, and its endpoints may be called.
///
/// The type of `openidconnect` is not used: it needs the issuer's exact text before the document is
/// read, and requires members that are not used here.
#[derive(Debug)]
pub(super) struct Metadata {
    /// The issuer exactly as the provider writes it; every `iss` must equal it.
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    /// Whether every authorization response carries `iss` (RFC 9207 section 3).
    pub(super) iss_parameter: bool,
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    code_challenge_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
}

/// Fetches and checks the discovery document.
pub(super) async fn discover(requests: &Requests, issuer: &str) -> Result<Metadata, Cause> {
    let issuer = normalized_issuer(issuer);
    let url = requests
        .client()
        .check(&format!("{issuer}{DISCOVERY_PATH}"))?;
    let body = fetch::json(requests, Asked::Discovery, &url, None).await?;
    let members = jose::object(&body)
        .ok_or("the discovery document is not an object without repeated members")?;
    check(
        requests.client(),
        issuer,
        serde_json::from_value(Value::Object(members))?,
    )
}

fn check(http: &Client, issuer: &str, document: Document) -> Result<Metadata, Cause> {
    if normalized_issuer(&document.issuer) != issuer {
        return Err("the discovery document names another issuer".into());
    }
    if document
        .code_challenge_methods_supported
        .is_some_and(|methods| !methods.iter().any(|method| method == "S256"))
    {
        return Err("the discovery document does not list S256 as a PKCE method".into());
    }
    let optional = |url: Option<String>| url.map(|url| http.check(&url)).transpose();
    Ok(Metadata {
        authorization_endpoint: http.check(&document.authorization_endpoint)?,
        token_endpoint: http.check(&document.token_endpoint)?,
        jwks_uri: http.check(&document.jwks_uri)?,
        userinfo_endpoint: optional(document.userinfo_endpoint)?,
        end_session_endpoint: optional(document.end_session_endpoint)?,
        iss_parameter: document
            .authorization_response_iss_parameter_supported
            .unwrap_or(false),
        issuer: document.issuer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ISSUER: &str = "https://idp.example/realms/a";

    fn checked(member: &str, value: Value) -> Result<Metadata, Cause> {
        let http = Client::for_issuer(&Url::parse(ISSUER)?)?;
        let mut document = json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://idp.example/auth",
            "token_endpoint": "https://tokens.example/token",
            "jwks_uri": "https://keys.example/jwks",
        });
        document[member] = value;
        check(
            &http,
            normalized_issuer(ISSUER),
            serde_json::from_value(document)?,
        )
    }

    #[test]
    fn endpoints_may_be_on_other_hosts_and_the_discovered_issuer_is_pinned() {
        let metadata = checked("issuer", json!(format!("{ISSUER}/"))).expect("the same issuer");
        assert_eq!(metadata.issuer, format!("{ISSUER}/"));
        assert_eq!(metadata.token_endpoint.host_str(), Some("tokens.example"));
        assert!(!metadata.iss_parameter);
    }

    #[test]
    fn another_issuer_is_refused() {
        for issuer in [
            "https://IDP.example/realms/a",
            "https://idp.example/realms/b",
            "https://idp.example/realms/a//",
            "https://evil.example",
        ] {
            assert!(checked("issuer", json!(issuer)).is_err(), "{issuer}");
        }
    }

    #[test]
    fn an_endpoint_that_may_not_be_called_is_refused() {
        for url in [
            "http://idp.example/x",
            "https://169.254.169.254/",
            "https://[::1]/",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "",
        ] {
            for member in [
                "authorization_endpoint",
                "token_endpoint",
                "jwks_uri",
                "userinfo_endpoint",
                "end_session_endpoint",
            ] {
                assert!(checked(member, json!(url)).is_err(), "{member} {url}");
            }
        }
    }

    #[test]
    fn a_published_list_without_s256_is_refused() {
        assert!(checked("code_challenge_methods_supported", json!(["plain"])).is_err());
        assert!(checked("code_challenge_methods_supported", json!([])).is_err());
        assert!(checked("code_challenge_methods_supported", json!(["plain", "S256"])).is_ok());
        assert!(checked("code_challenge_methods_supported", json!(null)).is_ok());
    }
}
