//! The outermost frame of every call: its id, its caller, its time limit, and what becomes of a failure.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::{Code, Status};
use tower::Service;
use tracing::{debug, error, warn};

use super::caller::{CallerContext, Gate};
use super::status::{complete, status};
use crate::error::Error;
use crate::secret::random;

/// The metadata that carries a request's id both ways.
pub const REQUEST_ID: &str = "x-request-id";

/// The longest that a call may take until its answer begins; a stream may then go on.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The id of a request: the caller's, or one made here.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
        Self(given.cloned().unwrap_or_else(made))
    }

    /// Its text, visible ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Unique without asking for randomness each time: 64 random bits for the process, and a counter.
fn made() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| u64::from_ne_bytes(random()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!("{:016x}{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The frame around all services.
#[derive(Clone, Debug)]
pub struct Calls<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S> Calls<S> {
    /// Around `inner`, for those that the gate lets in.
    #[must_use]
    pub fn new(gate: Gate, inner: S) -> Self {
        Self { gate: Arc::new(gate), inner }
    }
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = BoxFuture<Response<Body>, Infallible>>,
{
    type Response = Response<CallBody>;
    type Error = Infallible;
    type Future = BoxFuture<Response<CallBody>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut call = Call::new(&request);
        match self.gate.admit(request.uri().path(), request.headers()) {
            Ok(caller) => call.caller = caller,
            Err(status) => return Box::pin(ready(Ok(call.fail(&status)))),
        }
        call.tell(&mut request);
        // Made here and not inside the future: tonic starts a timer of its own for the caller's limit right after, and ours must end first.
        let limit = time_limit(request.headers());
        let answer = timeout(limit, AssertUnwindSafe(self.inner.call(request)).catch_unwind());
        Box::pin(async move {
            Ok(match answer.await {
                Ok(Ok(Ok(response))) => call.answer(response),
                Ok(Err(_panic)) => call.fail(&status(Error::internal("the handler panicked"))),
                Err(_elapsed) => call.fail(&Status::deadline_exceeded("the call took longer than allowed")),
            })
        })
    }
}

/// The shorter of our limit and the caller's; a malformed one counts as none, as in tonic.
fn time_limit(headers: &HeaderMap) -> Duration {
    let given = headers.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
    given.map_or(MAX_TIME, |given| given.min(MAX_TIME))
}

/// At most eight digits and a unit, as gRPC over HTTP/2 has it.
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

fn failed_trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, i32::from(Code::Internal).into());
    }
    trailers
}

/// What the frame keeps of a call until it is answered.
#[derive(Debug)]
struct Call {
    id: RequestId,
    path: Option<PathAndQuery>,
    caller: Option<Arc<CallerContext>>,
}

impl Call {
    fn new(request: &Request<Body>) -> Self {
        Self { id: RequestId::of(request.headers()), path: request.uri().path_and_query().cloned(), caller: None }
    }

    /// Gives the handler what it may ask for.
    fn tell(&self, request: &mut Request<Body>) {
        request.extensions_mut().insert(self.id.clone());
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(Arc::clone(caller));
        }
    }

    fn answer(self, mut response: Response<Body>) -> Response<CallBody> {
        // An extension keeps the status' source; generated code for unknown methods writes only the headers.
        let failure = response.extensions_mut().remove::<Status>().or_else(|| Status::from_header_map(response.headers()));
        match failure {
            Some(status) => self.fail(&status),
            None => response.map(|body| CallBody { body, call: Some(self) }),
        }
    }

    fn fail(&self, status: &Status) -> Response<CallBody> {
        self.complete(status).into_http().map(|body| CallBody { body, call: None })
    }

    /// The trailers of an answer that began well.
    fn trailers(&self, mut trailers: HeaderMap) -> HeaderMap {
        if trailers.get(Status::GRPC_STATUS).is_some_and(|code| code != "0") {
            let failure = Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown(""));
            return failed_trailers(&self.complete(&failure));
        }
        debug!(request_id = self.id.as_str(), method = self.method(), caller = self.caller_name(), "answered");
        trailers.insert(REQUEST_ID, self.id.0.clone());
        trailers
    }

    fn complete(&self, failure: &Status) -> Status {
        let mut status = complete(failure, self.id.as_str());
        self.log(&status, failure);
        if let Ok(id) = self.id.as_str().parse() {
            status.metadata_mut().insert(REQUEST_ID, id);
        }
        status
    }

    fn log(&self, status: &Status, failure: &Status) {
        let (request_id, method, caller) = (self.id.as_str(), self.method(), self.caller_name());
        match status.code() {
            Code::Internal => error!(request_id, method, caller, cause = causes(failure), "a call failed"),
            Code::Unavailable if failure.source().is_some() => warn!(request_id, method, caller, cause = causes(failure), "unavailable"),
            code => debug!(request_id, method, caller, ?code, cause = causes(failure), "refused"),
        }
    }

    fn method(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }

    fn caller_name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| caller.name())
    }
}

/// The causes below a status, or its message where there are none.
fn causes(status: &Status) -> String {
    let mut causes = Vec::new();
    let mut next = status.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() { status.message().to_owned() } else { causes.join(": ") }
}

/// An answer's body, whose trailers get the request's id.
#[derive(Debug)]
pub struct CallBody {
    body: Body,
    /// None where the headers have said it all.
    call: Option<Call>,
}

impl http_body::Body for CallBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| self.seal(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl CallBody {
    fn seal<D>(&self, frame: Frame<D>) -> Frame<D> {
        match (frame.into_trailers(), &self.call) {
            (Ok(trailers), Some(call)) => Frame::trailers(call.trailers(trailers)),
            (Ok(trailers), None) => Frame::trailers(trailers),
            (Err(data), _) => data,
        }
    }
}
