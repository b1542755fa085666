//! One call from its first header to its last trailer: its id, its failure, and its line in the
//! log.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::{debug, error, warn};

use super::connection::{OpenCall, Usage};
use super::status::complete;
use crate::caller::CallerContext;
use crate::error::{Error, Result};
use crate::secret::random;

/// The metadata that carries a request's id both ways.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The id of a call (`x-request-id`): the caller's, or a generated one.
#[derive(Clone, Debug)]
pub struct CallId(HeaderValue);

impl CallId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).filter(|id| {
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
    static PROCESS: LazyLock<u64> = LazyLock::new(|| u64::from_ne_bytes(random()));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!(
        "{:016x}{:016x}",
        *PROCESS,
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The caller of a request that the gate admitted.
///
/// # Errors
/// [`Error::CallerUnknown`] if the request was admitted without a caller.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<CallerContext>> {
    request
        .extensions()
        .get::<Arc<CallerContext>>()
        .cloned()
        .ok_or(Error::CallerUnknown)
}

/// What is kept of a call until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    id: CallId,
    path: Option<PathAndQuery>,
    caller: Option<Arc<CallerContext>>,
    /// Keeps the connection open; `None` for a call that needs no caller.
    open: Option<OpenCall>,
}

impl Call {
    /// The call of a request whose caller is not known yet.
    pub(super) fn new(request: &Request<Body>) -> Self {
        Self {
            id: CallId::of(request.headers()),
            path: request.uri().path_and_query().cloned(),
            caller: None,
            open: None,
        }
    }

    /// Notes the caller, and hands it to the handler in an extension of the request.
    pub(super) fn admit(
        &mut self,
        caller: Option<Arc<CallerContext>>,
        request: &mut Request<Body>,
    ) {
        if let Some(caller) = &caller {
            self.open = request.extensions().get::<Usage>().map(Usage::begin);
            request.extensions_mut().insert(Arc::clone(caller));
        }
        self.caller = caller;
    }

    /// The answer. If it did not fail at once, its trailers get the id.
    pub(super) fn answer(self, mut response: Response<Body>) -> Response<CallBody> {
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
    pub(super) fn fail(&self, status: &Status) -> Response<CallBody> {
        self.complete(status)
            .into_http()
            .map(|body| CallBody { body, call: None })
    }

    /// The trailers of an answer that did not fail at once.
    fn trailers(&self, mut trailers: HeaderMap) -> HeaderMap {
        if trailers
            .get(Status::GRPC_STATUS)
            .is_some_and(|code| code != "0")
        {
            let failure = Status::from_header_map(&trailers).unwrap_or_else(|| Status::unknown(""));
            return failed_trailers(&self.complete(&failure));
        }
        debug!(
            request_id = self.id.as_str(),
            method = self.method(),
            caller = self.caller_name(),
            "answered"
        );
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
            Code::Internal => error!(
                request_id,
                method,
                caller,
                cause = causes(failure),
                "a call failed"
            ),
            Code::Unavailable if failure.source().is_some() => warn!(
                request_id,
                method,
                caller,
                cause = causes(failure),
                "unavailable"
            ),
            code => debug!(
                request_id,
                method,
                caller,
                ?code,
                cause = causes(failure),
                "refused"
            ),
        }
    }

    fn method(&self) -> &str {
        self.path.as_ref().map_or("", PathAndQuery::path)
    }

    fn caller_name(&self) -> &str {
        self.caller.as_ref().map_or("", |caller| caller.name())
    }
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
#[derive(Debug)]
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
    fn seal<D>(&self, frame: Frame<D>) -> Frame<D> {
        match (frame.into_trailers(), &self.call) {
            (Ok(trailers), Some(call)) => Frame::trailers(call.trailers(trailers)),
            (Ok(trailers), None) => Frame::trailers(trailers),
            (Err(data), _) => data,
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
