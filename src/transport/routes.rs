//! Routes a path to its service, without the allocations of a general router, which show at
//! VerifyToken's rate.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tower::Service;

use super::drain::end_when;
use crate::tasks::Tasks;

/// The largest request of most methods, in bytes.
pub const MAX_REQUEST: usize = 256 * 1024;

type Answer = BoxFuture<Response<Body>, Infallible>;

/// A tonic service that is cloned for each call, because calling a tonic service needs `&mut`.
trait Callable: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer;
}

impl<S> Callable for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + Sync,
{
    fn call(&self, request: Request<Body>) -> Answer {
        Service::call(&mut self.clone(), request)
    }
}

/// One service of the listener.
pub struct Route {
    name: &'static str,
    service: Box<dyn Callable>,
    /// Methods whose requests may be larger, and the service with that limit.
    large: Option<(&'static [&'static str], Box<dyn Callable>)>,
    is_from_memory: bool,
}

impl Route {
    /// A service with its own limit on the size of a request.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self {
            name: S::NAME,
            service: Box::new(service),
            large: None,
            is_from_memory: false,
        }
    }

    /// The same service, which goes on while the store does not answer and access tokens can be
    /// verified from memory.
    #[must_use]
    pub fn from_memory(self) -> Self {
        Self {
            is_from_memory: true,
            ..self
        }
    }

    /// The same service with a larger limit, for some methods.
    #[must_use]
    pub fn with_large<S>(self, methods: &'static [&'static str], service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Self {
            large: Some((methods, Box::new(service))),
            ..self
        }
    }

    /// The service's full name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it goes on while the store does not answer.
    pub(super) fn is_from_memory(&self) -> bool {
        self.is_from_memory
    }

    fn service_of(&self, method: &str) -> &dyn Callable {
        match &self.large {
            Some((methods, service)) if methods.contains(&method) => &**service,
            _ => &*self.service,
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All services of the listener: our own, and the standard ones, whose streams end when the service
/// stops. Clones share everything.
#[derive(Clone, Debug)]
pub struct Routes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ours: Vec<Route>,
    standard: tonic::service::Routes,
    tasks: Tasks,
}

impl Routes {
    /// The routes, with health and reflection as `standard`.
    #[must_use]
    pub fn new(ours: Vec<Route>, standard: tonic::service::Routes, tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            ours,
            standard,
            tasks,
        }))
    }
}

impl Service<Request<Body>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let (service, method) = split(request.uri().path());
        let shared = &self.0;
        if let Some(route) = shared.ours.iter().find(|route| route.name == service) {
            return route.service_of(method).call(request);
        }
        let answer = Service::call(&mut shared.standard.clone(), request);
        let stopping = shared.tasks.stopping();
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| end_when(stopping, body)))
        })
    }
}

fn split(path: &str) -> (&str, &str) {
    path.strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default()
}
