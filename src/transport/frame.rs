//! The outermost layer of every call: refuses what is not gRPC, admits the caller, limits what the
//! call occupies and its time, and catches panics.

use std::convert::Infallible;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower::Service;

use super::call::{Call, CallBody};
use super::connection::Usage;
use super::load::{Load, Work};
use super::protocol;
use super::refusals::Refusals;
use super::status::status;
use crate::caller::Gate;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Rpc};
use crate::tasks;

/// The longest that a call may take until its answer begins; a stream may then go on.
const MAX_TIME: Duration = Duration::from_secs(10);

static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const HEALTH: &str = "/grpc.health.v1.";
const REFLECTION: &str = "/grpc.reflection.";

/// The layer around all services. It is cloned for each call, and clones share everything.
#[derive(Clone, Debug)]
pub struct CallService<S>(Arc<Shared<S>>);

#[derive(Debug)]
struct Shared<S> {
    /// `None` if only health is served.
    gate: Option<Gate>,
    load: Load,
    refusals: Refusals,
    rpc: Arc<Rpc>,
    /// Services that are always ready, as those of tonic are.
    inner: S,
}

impl<S> CallService<S> {
    /// Wraps `inner`, which gets the calls that the gate admits.
    #[must_use]
    pub fn new(gate: Gate, clock: Clock, metrics: &Metrics, inner: S) -> Self {
        Self::with_gate(Some(gate), clock, metrics, inner)
    }

    /// Wraps `inner`, which gets the calls to health and no others.
    #[must_use]
    pub fn for_health(clock: Clock, metrics: &Metrics, inner: S) -> Self {
        Self::with_gate(None, clock, metrics, inner)
    }

    fn with_gate(gate: Option<Gate>, clock: Clock, metrics: &Metrics, inner: S) -> Self {
        Self(Arc::new(Shared {
            gate,
            load: Load::new(),
            refusals: Refusals::new(clock),
            rpc: Arc::clone(&metrics.rpc),
            inner,
        }))
    }
}

impl<S> Shared<S> {
    /// Lets the call in, and returns its work; `None` for health and reflection, which are not
    /// counted among the calls at work.
    fn admit(&self, call: &mut Call, request: &mut Request<Body>) -> Result<Option<Arc<Work>>> {
        let path = request.uri().path();
        let certificate = call.usage().and_then(Usage::certificate);
        let identified = match &self.gate {
            Some(gate) => gate.identify(path, request.headers(), certificate),
            None if path.starts_with(HEALTH) => Ok(None),
            None => Err(Error::MethodUnknown),
        };
        let caller = identified.inspect_err(|error| self.note_stranger(error, call, path))?;
        if let Some((caller, permission)) = caller {
            return call.admit(caller, permission, request).map(Some);
        }
        let is_reflection = path.starts_with(REFLECTION);
        call.admit_public(is_reflection, request)?;
        Ok(None)
    }

    fn note_stranger(&self, error: &Error, call: &Call, path: &str) {
        if matches!(error, Error::CallerUnknown) {
            self.refusals.note(call.usage().map(Usage::network), path);
        }
    }
}

impl<S> Service<Request<Body>> for CallService<S>
where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        > + Clone,
{
    type Response = Response<CallBody>;
    type Error = Infallible;
    type Future = BoxFuture<Response<CallBody>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(refusal) = protocol::refusal(&request) {
            return Box::pin(ready(Ok(refusal)));
        }
        let shared = &self.0;
        let mut call = Call::new(&request, &shared.load, &shared.refusals, &shared.rpc);
        if call.usage().is_some_and(Usage::refuses_calls) {
            let stopping = Status::unavailable("the service is stopping; connect again");
            return Box::pin(ready(Ok(call.fail(&stopping))));
        }
        let work = match shared.admit(&mut call, &mut request) {
            Ok(work) => work,
            Err(error) => return Box::pin(ready(Ok(call.fail(&status(error))))),
        };
        // Started here and not inside the future: tonic then starts its own timer for the caller's
        // limit, and ours must expire first.
        let limit = time_limit(request.headers());
        let handler = at_work(work, shared.inner.clone().call(request));
        let handler = call.trace().clone().scope(handler);
        let answer = timeout(limit, AssertUnwindSafe(handler).catch_unwind());
        Box::pin(answer.map(move |answered| {
            Ok(match answered {
                Ok(Ok(Ok(response))) => call.answer(response),
                Ok(Err(_panic)) => call.fail(&status(Error::internal("the handler panicked"))),
                Err(_elapsed) => call.fail(&Status::deadline_exceeded(
                    "the call took longer than allowed",
                )),
            })
        }))
    }
}

/// Work that outlives the call goes on holding its place.
async fn at_work<T>(work: Option<Arc<Work>>, handler: impl Future<Output = T>) -> T {
    match work {
        Some(work) => tasks::holding(work, handler).await,
        None => handler.await,
    }
}

/// The shorter of our limit and the caller's; a malformed one counts as none, as in tonic.
fn time_limit(headers: &HeaderMap) -> Duration {
    let given = headers
        .get(&TIMEOUT)
        .and_then(|value| parse_timeout(value.to_str().ok()?));
    given.map_or(MAX_TIME, |given| given.min(MAX_TIME))
}

/// At most eight digits and a unit, as in gRPC over HTTP/2.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use http::HeaderValue;
    use http_body::Frame;
    use http_body_util::BodyExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tonic::Code;
    use tonic::transport::server::Connected;
    use tonic_types::StatusExt as _;
    use tower::{ServiceExt as _, service_fn};

    use super::super::call::REQUEST_ID;
    use super::super::connection::{Listener, connections};
    use super::*;
    use crate::caller::Callers;

    type FrameResult = Result<Frame<tonic::codegen::Bytes>, Status>;

    fn post() -> http::request::Builder {
        let request = Request::builder().method(http::Method::POST);
        request.header("content-type", "application/grpc")
    }

    fn clock() -> Clock {
        Clock::manual(crate::clock::Timestamp::from_secs(1_800_000_000))
    }

    fn request(timeout: &'static str) -> Request<Body> {
        let request = post()
            .uri("/grpc.health.v1.Health/Check")
            .header("grpc-timeout", timeout);
        request.body(Body::empty()).expect("a request")
    }

    fn verify_token(usage: &Usage) -> Request<Body> {
        let request = post()
            .uri("/countersign.v1.TokenService/VerifyToken")
            .extension(usage.clone());
        request.body(Body::empty()).expect("a request")
    }

    fn calls<S>(callers: &Callers, handler: S) -> CallService<S> {
        let metrics = Metrics::new(&clock());
        let gate = Gate::new(callers, clock(), Arc::clone(&metrics.callers));
        CallService::new(gate, clock(), &metrics, handler)
    }

    async fn answer(
        timeout: &'static str,
        answer: fn() -> BoxFuture<Response<Body>, Infallible>,
    ) -> Response<CallBody> {
        let calls = calls(&Callers::Open, service_fn(move |_| answer()));
        calls.oneshot(request(timeout)).await.expect("infallible")
    }

    #[tokio::test]
    async fn a_call_ends_at_the_callers_limit() {
        let response = answer("20m", || Box::pin(std::future::pending())).await;
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(
            status.get_details_error_info().expect("ErrorInfo").reason,
            "DEADLINE_EXCEEDED"
        );
    }

    #[tokio::test]
    async fn a_stream_that_began_outlives_the_limit() {
        fn begun() -> BoxFuture<Response<Body>, Infallible> {
            let frames = futures_util::stream::once(Box::pin(late()));
            Box::pin(ready(Ok(Response::new(Body::new(
                http_body_util::StreamBody::new(frames),
            )))))
        }
        async fn late() -> Result<Frame<tonic::codegen::Bytes>, Status> {
            tokio::time::sleep(Duration::from_millis(60)).await;
            Ok(Frame::trailers(HeaderMap::from_iter([(
                Status::GRPC_STATUS,
                0.into(),
            )])))
        }
        let response = answer("20m", begun).await;
        let trailers = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .trailers()
            .cloned()
            .expect("trailers");
        assert_eq!(trailers[Status::GRPC_STATUS], "0");
        assert_eq!(trailers[&REQUEST_ID].len(), 32);
    }

    async fn accepted() -> (TcpStream, impl Connected<ConnectInfo = Usage>) {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let peer = TcpStream::connect(address).await.expect("connects");
        let listener = Listener { socket, tls: None };
        let connection = Box::pin(connections(
            listener,
            &Metrics::new(&clock()),
            Arc::default(),
        ))
        .next()
        .await;
        let connection = connection.expect("a connection");
        (peer, connection)
    }

    #[tokio::test]
    async fn a_part_of_an_answer_counts_as_not_taken_until_it_is_dropped() {
        let (_peer, connection) = accepted().await;
        let usage = connection.connect_info();
        let answer = |_| -> BoxFuture<_, _> {
            let body = http_body_util::Full::new(tonic::codegen::Bytes::from_static(b"x"));
            Box::pin(ready(Ok(Response::new(Body::new(body)))))
        };
        let calls = calls(&Callers::Open, service_fn(answer));
        let response = calls.oneshot(verify_token(&usage)).await;
        let response = response.expect("infallible");
        let part = response.into_body().frame().await;
        assert!(part.is_some_and(|part| {
            let _kept = part.expect("a part");
            usage.next_period() && !usage.next_period()
        }));
        assert!(usage.next_period() && usage.next_period());
    }

    #[tokio::test]
    async fn only_calls_that_were_let_in_keep_their_connection() {
        let (_peer, connection) = accepted().await;
        let usage = connection.connect_info();
        for (path, callers, kept) in [
            ("/grpc.health.v1.Health/Watch", Callers::Open, false),
            (
                "/countersign.v1.TokenService/VerifyToken",
                Callers::Listed(Vec::new()),
                false,
            ),
            (
                "/countersign.v1.TokenService/VerifyToken",
                Callers::Open,
                true,
            ),
        ] {
            let body = || {
                Ok(Response::new(Body::new(http_body_util::StreamBody::new(
                    futures_util::stream::pending::<FrameResult>(),
                ))))
            };
            let handler = service_fn(move |_| -> BoxFuture<_, _> { Box::pin(ready(body())) });
            let calls = calls(&callers, handler);
            let request = post()
                .uri(path)
                .extension(usage.clone())
                .body(Body::empty())
                .expect("a request");
            let response = calls.oneshot(request).await.expect("infallible");
            assert_eq!(usage.is_open(), kept, "{path}");
            drop(response);
            assert!(!usage.is_open());
        }
    }

    #[tokio::test]
    async fn calls_after_the_end_of_a_connection_are_refused() {
        let (_peer, connection) = accepted().await;
        let usage = connection.connect_info();
        usage.refuse_calls();
        let handler = service_fn(|_| -> BoxFuture<_, _> { unreachable!("refused before") });
        let response = calls(&Callers::Open, handler).oneshot(verify_token(&usage));
        let response = response.await.expect("infallible");
        let status = Status::from_header_map(response.headers()).expect("a status");
        let reason = status.get_details_error_info().expect("ErrorInfo").reason;
        assert_eq!(
            (status.code(), &*reason),
            (Code::Unavailable, "SHUTTING_DOWN")
        );
    }

    #[test]
    fn the_shorter_limit_counts() {
        let limit = |value| {
            time_limit(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(limit("1S"), Duration::from_secs(1));
        assert_eq!(limit("0n"), Duration::ZERO);
        for longer_or_malformed in [
            "99999999H",
            "100000000u",
            "",
            "S",
            "-1S",
            "1 S",
            "1s",
            "+1S",
            "1.5S",
        ] {
            assert_eq!(
                limit(longer_or_malformed),
                MAX_TIME,
                "{longer_or_malformed}"
            );
        }
        assert_eq!(time_limit(&HeaderMap::new()), MAX_TIME);
    }
}
