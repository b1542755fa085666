//! The body of a request, which counts what it brings into memory, and tells if its sender left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use super::load::{SMALL, Work};
use super::status::status;
use crate::error::Result;

type Data = <Body as http_body::Body>::Data;

/// A request's body. It fails with BUSY if there is no room for it, or no place for the work once it
/// is complete. The time limit of the call is also that of its body. If it ends too early, because its
/// sender left, that is the sender's fault: tonic would call it a failure of the service.
pub(super) struct RequestBody {
    body: Body,
    /// `None` if the call needs no caller.
    work: Option<Arc<Work>>,
    received: usize,
    failed: bool,
}

impl RequestBody {
    pub(super) fn new(body: Body, work: Option<Arc<Work>>) -> Self {
        Self {
            body,
            work,
            received: 0,
            failed: false,
        }
    }

    fn note(&mut self, frame: Option<&Frame<Data>>) -> Result<()> {
        let Some(work) = &self.work else {
            return Ok(());
        };
        if let Some(data) = frame.and_then(Frame::data_ref) {
            let before = self.received;
            self.received += data.len();
            if self.received > SMALL {
                let counted = if before > SMALL { before } else { 0 };
                work.receive(self.received - counted)?;
            }
            if !http_body::Body::is_end_stream(&self.body) {
                return Ok(());
            }
        }
        work.begin()
    }
}

impl http_body::Body for RequestBody {
    type Data = Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Data>, Status>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose();
        let Ok(frame) = frame else {
            self.failed = true;
            let left = Status::invalid_argument("the request ended before it was complete");
            return Poll::Ready(Some(Err(left)));
        };
        if let Err(error) = self.note(frame.as_ref()) {
            self.failed = true;
            return Poll::Ready(Some(Err(status(error))));
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.failed || self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
