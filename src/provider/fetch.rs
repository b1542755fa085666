//! Fetches JSON documents from a provider.

use url::Url;

use super::requests::Requests;
use crate::error::Cause;
use crate::http::{json_body, json_request};
use crate::metrics::Asked;
use crate::secret::SecretString;

/// Fetches a JSON document and returns its body, not yet parsed.
pub(super) async fn json(
    requests: &Requests,
    asked: Asked,
    url: &Url,
    bearer: Option<&SecretString>,
) -> Result<Vec<u8>, Cause> {
    let request = json_request(url, bearer)?;
    json_body(requests.send(asked, request).await?)
}
