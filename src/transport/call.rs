//! One call from its first header to its last trailer: its id, its failure, and its line in the
//! log.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::{Code, Status};
use tracing::{Level, debug, enabled, error};

use super::connection::{OpenCall, PublicCall, Untaken, Usage};
use super::load::{Charge, Load, SMALL, Work};
use super::refusals::Refusals;
use super::request::RequestBody;
use super::status::{complete, status};
use crate::caller::{CallPlace, CallerContext, Permission};
use crate::error::Result;
use crate::metrics::{Rpc, StatusCode, TimedCall};
use crate::secret::random;
use crate::trace::CallTrace;

/// The metadata that carries a request's id both ways.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a call (`x-request-id`): the caller's, or a generated one.
#[derive(Clone, Debug)]
pub struct CallId(HeaderValue);

impl CallId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&REQUEST_ID).filter(|id| {
            (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        });
        let mut id = given.cloned().unwrap_or_else(generated_id);
        // A sensitive header stays out of HPACK's dynamic table (RFC 7541 section 7.1.3), from
        // which an id, which occurs only once, would evict headers that recur.
        id.set_sensitive(true);
        Self(id)
    }

    /// Its text, visible ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A unique id. It consists of 64 random bits for the process and a counter, because drawing
/// randomness for each call is slower.
fn generated_id() -> HeaderValue {
    static PROCESS: LazyLock<[u8; 8]> = LazyLock::new(random);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut digits = [b'0'; 32];
    let (process, counted) = digits.split_at_mut(16);
    let written =
        hex::encode_to_slice(*PROCESS, process).and_then(|()| hex::encode_to_slice(count, counted));
    let id = written
        .ok()
        .and_then(|()| HeaderValue::from_bytes(&digits).ok());
    id.unwrap_or(HeaderValue::from_static("unknown"))
}

/// What is kept of a call until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    timed: TimedCall,
    id: CallId,
    trace: CallTrace,
    path: Option<PathAndQuery>,
    caller: Option<Arc<CallerContext>>,
    usage: Option<Usage>,
    load: Load,
    refusals: Refusals,
    /// Since the gate let it in.
    open: Option<Arc<Open>>,
}

/// What an open call occupies, until the caller has taken its answer.
#[derive(Debug)]
#[expect(dead_code, reason = "held until it is dropped")]
struct Open {
    /// Its place among the open calls of its caller, if their number is limited.
    own: Option<CallPlace>,
    place: Option<OwnedSemaphorePermit>,
    call: Option<OpenCall>,
    public: Option<PublicCall>,
}

/// A part of an answer, which occupies memory until it is written to the socket or given up.
struct Part {
    bytes: Bytes,
    _charge: Option<Charge>,
    _untaken: Option<Untaken>,
    _open: Option<Arc<Open>>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Call {
    /// The call of a request whose caller is not known yet.
    pub(super) fn new(
        request: &Request<Body>,
        load: &Load,
        refusals: &Refusals,
        rpc: &Arc<Rpc>,
    ) -> Self {
        let id = CallId::of(request.headers());
        Self {
            timed: rpc.begin(request.uri().path()),
            trace: CallTrace::new(id.0.clone(), request.headers()),
            id,
            path: request.uri().path_and_query().cloned(),
            caller: None,
            usage: request.extensions().get::<Usage>().cloned(),
            load: load.clone(),
            refusals: refusals.clone(),
            open: None,
        }
    }

    /// What its log lines and its spans have in common.
    pub(super) fn trace(&self) -> &CallTrace {
        &self.trace
    }

    /// What the calls of its connection occupy, if that is known.
    pub(super) fn usage(&self) -> Option<&Usage> {
        self.usage.as_ref()
    }

    /// Lets a call of a known caller in: hands the caller to the handler in an extension of the
    /// request, and returns the call's work.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`] without the permission, [`Error::CallerTooFast`] and
    /// [`Error::CallerTooBusy`] beyond the caller's limits, and [`Error::Busy`] if too many calls
    /// are open.
    pub(super) fn admit(
        &mut self,
        caller: Arc<CallerContext>,
        permission: Permission,
        request: &mut Request<Body>,
    ) -> Result<Arc<Work>> {
        self.caller = Some(Arc::clone(&caller));
        self.trace.begin(self.timed.method(), request.headers());
        // Only a refusal is logged, so only that needs the call's ids, whose copy is not free.
        if !caller.has(permission) {
            self.trace.sync_scope(|| caller.require(permission))?;
        }
        let limited = caller.begin_call().inspect_err(|error| {
            self.trace.sync_scope(|| caller.note_limited(error));
        });
        request.extensions_mut().insert(caller);
        request.extensions_mut().insert(permission);
        // Its connection is in use, even if there is no place for the call.
        let call = self.usage.as_ref().map(Usage::begin);
        self.open = Some(Arc::new(Open {
            own: limited?,
            place: Some(self.load.open()?),
            call,
            public: None,
        }));
        let connection = self.usage.as_ref().map(Usage::bytes);
        let work = self.load.work(connection.cloned());
        watch_body(request, Some(Arc::clone(&work)));
        Ok(work)
    }

    /// Lets a call in that needs no caller.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many are open on its connection, or too many streams of reflection.
    pub(super) fn admit_public(
        &mut self,
        is_reflection: bool,
        request: &mut Request<Body>,
    ) -> Result<()> {
        let public = self.usage.as_ref().map(Usage::begin_public);
        let public = public.map(|call| call.ok_or_else(Load::busy)).transpose()?;
        let place = is_reflection.then(|| self.load.reflect()).transpose()?;
        self.open = Some(Arc::new(Open {
            own: None,
            place,
            call: None,
            public,
        }));
        watch_body(request, None);
        Ok(())
    }

    /// The answer. If it did not fail at once, its trailers get the id.
    pub(super) fn answer(mut self, mut response: Response<Body>) -> Response<CallBody> {
        // A status in the extensions still has its source; tonic's generated code for unknown
        // methods writes only headers.
        let failure = response
            .extensions_mut()
            .remove::<Status>()
            .or_else(|| Status::from_header_map(response.headers()));
        match failure {
            Some(status) => self.fail(&status),
            None => response.map(|body| CallBody {
                body,
                call: Some(self),
            }),
        }
    }

    /// The answer to a call that failed.
    pub(super) fn fail(&mut self, status: &Status) -> Response<CallBody> {
        self.complete(status)
            .into_http()
            .map(|body| CallBody { body, call: None })
    }

    /// The trailers of an answer that did not fail at once.
    fn trailers(&mut self, mut trailers: HeaderMap) -> HeaderMap {
        if trailers
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| code != "0")
        {
            let failure = Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown(""));
            return failed_trailers(&self.complete(&failure));
        }
        self.timed.succeed();
        self.trace.end(StatusCode::Ok);
        if enabled!(Level::DEBUG) {
            let (method, caller) = (self.method(), self.caller_name());
            self.trace.sync_scope(|| debug!(method, caller, "answered"));
        }
        trailers.insert(REQUEST_ID.clone(), self.id.0.clone());
        trailers
    }

    /// A part of the answer as the connection gets it.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no room for it in memory.
    fn part(&self, bytes: Bytes) -> Result<Bytes> {
        let connection = self.usage.as_ref().map(Usage::bytes);
        // A call that needs no caller is bounded by the number of such calls.
        let is_counted = bytes.len() > SMALL && self.caller.is_some();
        let charge = is_counted.then(|| self.load.charge(connection, bytes.len()));
        Ok(Bytes::from_owner(Part {
            bytes,
            _charge: charge.transpose()?,
            _untaken: self.usage.as_ref().map(Usage::answer),
            _open: self.open.clone(),
        }))
    }

    fn complete(&mut self, failure: &Status) -> Status {
        let (mut status, reason) = complete(failure, self.id.as_str());
        let code = StatusCode::of(status.code().into());
        self.timed.fail(code, reason);
        self.trace.end(code);
        self.trace.sync_scope(|| self.log(&status, failure));
        if let Ok(id) = self.id.as_str().parse() {
            status.metadata_mut().insert(REQUEST_ID.as_str(), id);
        }
        status
    }

    fn log(&self, status: &Status, failure: &Status) {
        let (method, caller) = (self.method(), self.caller_name());
        match status.code() {
            Code::Internal => error!(method, caller, cause = causes(failure), "a call failed"),
            Code::Unavailable if failure.source().is_some() => {
                self.refusals
                    .note_unavailable(method, caller, &causes(failure));
            }
            code => debug!(method, caller, ?code, cause = causes(failure), "refused"),
        }
    }

    fn method(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }

    fn caller_name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| caller.name())
    }
}

impl Drop for Call {
    /// A call that is dropped before its answer ended was given up by its caller.
    fn drop(&mut self) {
        self.trace.end(StatusCode::Cancelled);
    }
}

fn watch_body(request: &mut Request<Body>, work: Option<Arc<Work>>) {
    let body = std::mem::replace(request.body_mut(), Body::empty());
    *request.body_mut() = Body::new(RequestBody::new(body, work));
}

fn failed_trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, i32::from(Code::Internal).into());
    }
    trailers
}

/// The causes of a status, or its message if it has none.
fn causes(status: &Status) -> String {
    let mut causes = Vec::new();
    let mut next = status.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    if causes.is_empty() {
        status.message().to_owned()
    } else {
        causes.join(": ")
    }
}

/// An answer's body, whose trailers get the call's id.
#[derive(Debug, Default)]
pub struct CallBody {
    body: Body,
    /// `None` if the headers reported a failure, so that there are no trailers.
    call: Option<Call>,
}

impl http_body::Body for CallBody {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
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
    fn seal(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Some(call) = &mut self.call else {
            return frame;
        };
        match frame.into_data().map(|bytes| call.part(bytes)) {
            Ok(Ok(part)) => Frame::data(part),
            Ok(Err(busy)) => {
                let trailers = failed_trailers(&call.complete(&status(busy)));
                *self = Self::default();
                Frame::trailers(trailers)
            }
            Err(other) => match other.into_trailers() {
                Ok(trailers) => Frame::trailers(call.trailers(trailers)),
                Err(other) => other,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_differ() {
        assert!(generated_id() != generated_id() && generated_id().len() == 32);
    }
}
