//! Ends streams when the service stops; otherwise one open stream would hold up the whole drain.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::Frame;
use tonic::body::Body;
use tonic::{Code, Status};

/// The body, ended with UNAVAILABLE once `stopping` is ready and the body has no frame ready.
pub fn end_when(stopping: impl Future<Output = ()> + Send + 'static, body: Body) -> Body {
    Body::new(UntilStop {
        body,
        stopping: Some(Box::pin(stopping)),
    })
}

struct UntilStop {
    body: Body,
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for UntilStop {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(cx) {
            return ready;
        }
        let Some(stopping) = &mut self.stopping else {
            return Poll::Ready(None);
        };
        ready!(stopping.as_mut().poll(cx));
        self.stopping = None;
        self.body = Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(unavailable()))))
    }

    fn is_end_stream(&self) -> bool {
        self.stopping.is_none() || self.body.is_end_stream()
    }
}

fn unavailable() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, i32::from(Code::Unavailable).into())])
}
