//! Answers in plain text.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

const TEXT: &str = "text/plain; charset=utf-8";

/// One or more lines.
pub(super) fn text(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(format!("{text}\n"));
    *response.status_mut() = status;
    let of_type = HeaderValue::from_static(TEXT);
    response.headers_mut().insert(CONTENT_TYPE, of_type);
    response
}
