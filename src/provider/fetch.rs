//! Fetches JSON documents from a provider.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode};
use url::Url;

use super::requests::Requests;
use crate::error::Cause;
use crate::http::Response;
use crate::metrics::Asked;
use crate::secret::{ExposeSecret as _, SecretString};

/// Fetches a JSON document and returns its body, not yet parsed.
pub(super) async fn json(
    requests: &Requests,
    asked: Asked,
    url: &Url,
    bearer: Option<&SecretString>,
) -> Result<Vec<u8>, Cause> {
    let mut request = Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .body(Vec::new())?;
    if let Some(token) = bearer {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
        // Keeps the token out of debug output.
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let response = requests.send(asked, request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the response has status {}", response.status().as_u16()).into());
    }
    if !is_json(&response) {
        return Err("the response is not JSON".into());
    }
    Ok(response.into_body())
}

/// Whether the content type is absent, `application/json`, or one with the suffix `+json` (RFC
/// 6839).
pub(super) fn is_json(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_none_or(|value| {
        let media_type = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        media_type == "application/json"
            || (media_type.starts_with("application/") && media_type.ends_with("+json"))
    })
}
