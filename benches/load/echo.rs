//! A plain tonic server: it decodes bytes and answers with a fixed number of bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic_prost::ProstCodec;
use tower::Service;

use crate::Result;

/// The echo's only method.
pub const PATH: &str = "/load.Echo/Echo";

/// Serves on `address` and answers each call with `size` bytes.
pub async fn serve(address: SocketAddr, size: usize) -> Result<()> {
    let echo = Echo {
        answer: vec![b'x'; size].into(),
    };
    Ok(Server::builder().add_service(echo).serve(address).await?)
}

/// What tonic generates for a service of one method.
#[derive(Clone)]
struct Echo {
    answer: Arc<[u8]>,
}

impl NamedService for Echo {
    const NAME: &'static str = "load.Echo";
}

impl UnaryService<Vec<u8>> for Echo {
    type Response = Vec<u8>;
    type Future = BoxFuture<tonic::Response<Vec<u8>>, tonic::Status>;

    fn call(&mut self, _: tonic::Request<Vec<u8>>) -> Self::Future {
        let answer = Arc::clone(&self.answer);
        Box::pin(async move { Ok(tonic::Response::new(answer.to_vec())) })
    }
}

impl Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            Ok(Grpc::new(ProstCodec::<Vec<u8>, Vec<u8>>::default())
                .unary(echo, request)
                .await)
        })
    }
}
