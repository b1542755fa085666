//! Only gRPC runs an RPC: another method or content type is refused in HTTP, as gRPC servers do.

use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};

const GRPC: &str = "application/grpc";

/// The refusal of a request that is not gRPC over protobuf.
pub(super) fn refusal<B, R: Default>(request: &Request<B>) -> Option<Response<R>> {
    let mut response = Response::new(R::default());
    if request.method() != Method::POST {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allow = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allow);
    } else if !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    } else {
        return None;
    }
    Some(response)
}

/// `application/grpc` or `application/grpc+proto`, with or without parameters.
fn is_grpc(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let name = text.split(';').next().unwrap_or_default().trim_end();
    let suffix = name
        .get(..GRPC.len())
        .filter(|start| start.eq_ignore_ascii_case(GRPC))
        .and_then(|_| name.get(GRPC.len()..));
    suffix.is_some_and(|suffix| suffix.is_empty() || suffix.eq_ignore_ascii_case("+proto"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(method: Method, content_type: Option<&str>) -> Option<u16> {
        let mut request = Request::builder().method(method);
        if let Some(value) = content_type {
            request = request.header(CONTENT_TYPE, value);
        }
        let request = request.body(()).expect("a request");
        refusal::<_, ()>(&request).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_post_and_the_content_type_of_grpc_over_protobuf_are_let_through() {
        let grpc = Some("application/grpc");
        for name in [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC ; charset=x",
        ] {
            assert_eq!(answered(Method::POST, Some(name)), None, "{name}");
        }
        for name in [
            "application/grpc+json",
            "application/grpc-web",
            "application/json",
            "",
            "application/grpcx",
        ] {
            assert_eq!(answered(Method::POST, Some(name)), Some(415), "{name}");
        }
        assert_eq!(answered(Method::POST, None), Some(415));
        for method in [Method::GET, Method::PUT, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(answered(method, grpc), Some(405));
        }
    }
}
