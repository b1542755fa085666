//! From a path to the service behind it, without a router's boxes: VerifyToken passes here at a rate where they show.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tower::Service;

use super::drain::Draining;
use super::proto::auth_service_server::{self as auth, AuthService, AuthServiceServer};
use super::proto::federation_service_server::{
    self as federation, FederationService, FederationServiceServer,
};
use super::proto::moderation_service_server::{
    self as moderation, ModerationService, ModerationServiceServer,
};
use super::proto::token_service_server::{self as token, TokenService, TokenServiceServer};

/// The names of the services of `countersign.v1`.
pub const SERVICE_NAMES: [&str; 4] = [
    auth::SERVICE_NAME,
    token::SERVICE_NAME,
    moderation::SERVICE_NAME,
    federation::SERVICE_NAME,
];

/// The largest request of most methods.
pub const MAX_REQUEST: usize = 256 * 1024;
/// The largest request of the methods that take many tokens or templates at once.
pub const MAX_LARGE_REQUEST: usize = 2 * 1024 * 1024;
/// The largest answer.
pub const MAX_RESPONSE: usize = 4 * 1024 * 1024;

/// The four services, whatever implements them.
#[derive(Debug)]
pub struct Services<A, T, M, F> {
    /// Accounts and sign-in.
    pub auth: A,
    /// Sessions and their tokens.
    pub token: T,
    /// Violations and bans.
    pub moderation: M,
    /// Provider tokens and placeholders.
    pub federation: F,
}

/// All services of the listener: ours, and the standard ones whose streams end at a drain.
#[derive(Debug)]
pub struct Routes<A, T, M, F>(Arc<Servers<A, T, M, F>>);

#[derive(Debug)]
struct Servers<A, T, M, F> {
    auth: AuthServiceServer<A>,
    token: TokenServiceServer<T>,
    moderation: ModerationServiceServer<M>,
    federation: FederationServiceServer<F>,
    standard: tonic::service::Routes,
    draining: Draining,
}

impl<A, T, M, F> Clone for Routes<A, T, M, F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: AuthService, T: TokenService, M: ModerationService, F: FederationService>
    Routes<A, T, M, F>
{
    /// Our services, and health and reflection as `standard`.
    #[must_use]
    pub fn new(
        services: Services<A, T, M, F>,
        standard: tonic::service::Routes,
        draining: Draining,
    ) -> Self {
        Self(Arc::new(Servers {
            auth: AuthServiceServer::new(services.auth).max_encoding_message_size(MAX_RESPONSE),
            token: TokenServiceServer::new(services.token).max_encoding_message_size(MAX_RESPONSE),
            moderation: ModerationServiceServer::new(services.moderation)
                .max_encoding_message_size(MAX_RESPONSE),
            federation: FederationServiceServer::new(services.federation)
                .max_encoding_message_size(MAX_RESPONSE),
            standard,
            draining,
        }))
    }
}

impl<A: AuthService, T: TokenService, M: ModerationService, F: FederationService>
    Service<Request<Body>> for Routes<A, T, M, F>
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (service, method) = split(request.uri().path());
        let limit = max_request(method);
        match service {
            token::SERVICE_NAME => self
                .0
                .token
                .clone()
                .max_decoding_message_size(limit)
                .call(request),
            federation::SERVICE_NAME => self
                .0
                .federation
                .clone()
                .max_decoding_message_size(limit)
                .call(request),
            auth::SERVICE_NAME => self
                .0
                .auth
                .clone()
                .max_decoding_message_size(limit)
                .call(request),
            moderation::SERVICE_NAME => self
                .0
                .moderation
                .clone()
                .max_decoding_message_size(limit)
                .call(request),
            _ => {
                let answer = self.0.standard.clone().call(request);
                let draining = self.0.draining.clone();
                Box::pin(async move {
                    answer
                        .await
                        .map(|response| response.map(|body| draining.end(body)))
                })
            }
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default()
}

fn max_request(method: &str) -> usize {
    match method {
        "BatchVerifyTokens" | "ResolvePlaceholders" | "ResolveEndpoint" | "ResolveMcpServer" => {
            MAX_LARGE_REQUEST
        }
        _ => MAX_REQUEST,
    }
}
