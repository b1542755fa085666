//! Streams that end when the service stops: without it one open stream would hold up the whole drain.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::Frame;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::{Code, Status};

/// Tells streams that the service is stopping.
#[derive(Clone, Debug)]
pub struct Draining(watch::Receiver<bool>);

impl Draining {
    /// From a channel that says true once the service is stopping.
    #[must_use]
    pub fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(stopping)
    }

    /// Ready once the service is stopping.
    pub async fn begun(mut self) {
        // A closed channel means that the server is gone.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }

    /// The body, ended by UNAVAILABLE once the service is stopping and the body has nothing more to say at once.
    #[must_use]
    pub fn end(self, body: Body) -> Body {
        Body::new(UntilDrain {
            body,
            drain: Some(Box::pin(self.begun())),
        })
    }
}

struct UntilDrain {
    body: Body,
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl http_body::Body for UntilDrain {
    type Data = <Body as http_body::Body>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(cx) {
            return ready;
        }
        let Some(drain) = &mut self.drain else {
            return Poll::Ready(None);
        };
        ready!(drain.as_mut().poll(cx));
        self.drain = None;
        self.body = Body::empty();
        Poll::Ready(Some(Ok(Frame::trailers(stopping()))))
    }

    fn is_end_stream(&self) -> bool {
        self.drain.is_none() || self.body.is_end_stream()
    }
}

fn stopping() -> HeaderMap {
    HeaderMap::from_iter([(Status::GRPC_STATUS, i32::from(Code::Unavailable).into())])
}
