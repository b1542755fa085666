//! The span of a request, as OpenTelemetry's conventions for HTTP clients have it.

use http::{Request, StatusCode};

use crate::trace::{self, Span, attribute};

/// Begins the span of a request. Of the URL it has neither user nor query.
pub(super) fn begin<T>(request: &Request<T>) -> Span {
    trace::client(|| {
        let (method, uri) = (request.method().as_str().to_owned(), request.uri());
        let host = uri.host().unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        let port = uri
            .port_u16()
            .unwrap_or(if scheme == "http" { 80 } else { 443 });
        let address = host.trim_matches(['[', ']']).to_owned();
        let url = format!("{scheme}://{host}:{port}{}", uri.path());
        let attributes = vec![
            attribute("http.request.method", method.clone()),
            attribute("server.address", address),
            attribute("server.port", i64::from(port)),
            attribute("url.full", url),
        ];
        (method.into(), attributes)
    })
}

/// Tells the span how its request ended: with an answer, or with an error of this kind.
pub(super) fn end(mut span: Span, outcome: Result<StatusCode, &'static str>) {
    match outcome {
        Ok(status) => {
            span.set("http.response.status_code", i64::from(status.as_u16()));
            if status.is_client_error() || status.is_server_error() {
                span.fail(status.as_str().to_owned());
            }
        }
        Err(kind) => span.fail(kind),
    }
}
