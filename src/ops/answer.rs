//! What the side listener answers.

use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::discovery::{self, Discovery};
use super::scrapes::Scrapes;
use super::text::text;
use crate::health::Health;
use crate::metrics::Format;

/// The answer to a request, whose body is not read. hyper leaves out the body of the answer to HEAD.
pub(super) async fn answer<B>(
    request: Request<B>,
    scrapes: &Scrapes,
    health: &Health,
    discovery: &Discovery,
) -> Response<String> {
    let (request, _) = request.into_parts();
    let state = health.state();
    let path = request.uri.path();
    let is_read = [Method::GET, Method::HEAD].contains(&request.method);
    let mut response = match path {
        "/metrics" | "/livez" | "/readyz" | "/startupz" | discovery::JWKS | discovery::METADATA
            if !is_read =>
        {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            refused
        }
        "/metrics" => {
            let format = format(&request.headers);
            let text = scrapes.text(format).await;
            let mut shown = Response::new(text.as_ref().to_owned());
            let of_type = HeaderValue::from_static(format.content_type());
            shown.headers_mut().insert(CONTENT_TYPE, of_type);
            shown
        }
        discovery::JWKS => discovery.jwks(&request.headers),
        discovery::METADATA => discovery.metadata(),
        "/livez" => text(StatusCode::OK, "alive"),
        "/startupz" if state.is_started() => text(StatusCode::OK, "started"),
        "/readyz" if state.is_ready() => text(StatusCode::OK, "ready"),
        "/startupz" | "/readyz" => {
            let missing: Vec<_> = state.missing().collect();
            text(StatusCode::SERVICE_UNAVAILABLE, &missing.join("\n"))
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /livez, /readyz, /startupz, /.well-known/jwks.json and \
             /.well-known/openid-configuration",
        ),
    };
    let headers = response.headers_mut();
    let cached = headers.entry(CACHE_CONTROL);
    cached.or_insert(HeaderValue::from_static("no-store"));
    response
}

/// OpenMetrics, if the request names it and prefers no plain text.
fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted = accepted.filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = accepted
        .flat_map(|value| value.split(',').map(range))
        .collect();
    let quality = |name: &str| {
        let same = ranges
            .iter()
            .filter(|(of, _)| of.eq_ignore_ascii_case(name));
        same.map(|(_, quality)| *quality).reduce(f32::max)
    };
    let mut texts = ["text/plain", "text/*", "*/*"].into_iter();
    let text = texts.find_map(quality).unwrap_or_default();
    match quality("application/openmetrics-text") {
        Some(openmetrics) if openmetrics > 0.0 && openmetrics >= text => Format::OpenMetrics,
        _ => Format::Prometheus,
    }
}

/// A media range and its quality, which is 1 unless it is stated (RFC 9110 section 12.5.1).
fn range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let stated = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.eq_ignore_ascii_case("q").then(|| value.parse().ok())?
    };
    (name, parts.find_map(stated).unwrap_or(1.0))
}
