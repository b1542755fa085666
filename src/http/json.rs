//! JSON documents.

use http::StatusCode;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::{Request, Response};
use crate::error::Cause;
use crate::secret::{ExposeSecret as _, SecretString};

/// A request for the JSON document at a URL.
///
/// # Errors
/// If the token cannot stand in a header.
pub fn json_request(url: &Url, bearer: Option<&SecretString>) -> Result<Request, Cause> {
    let mut request = http::Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .body(Vec::new())?;
    if let Some(token) = bearer {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?;
        // Keeps the token out of debug output.
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// The document of a response, not yet parsed.
///
/// # Errors
/// If the status is not 200, or the content is not JSON.
pub fn json_body(response: Response) -> Result<Vec<u8>, Cause> {
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
pub fn is_json(response: &Response) -> bool {
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
