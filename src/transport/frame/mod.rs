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
use tokio::time::error::Elapsed;
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
use crate::caller::{Gate, Identified, Wait};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::{Metrics, Rpc};
use crate::tasks;

/// The longest that a call may take until its answer begins; a stream may then go on.
const MAX_TIME: Duration = Duration::from_secs(10);

/// What a handler panicked with.
type Panic = Box<dyn std::any::Any + Send>;

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
    /// Who makes the call.
    fn identify(&self, call: &Call, request: &Request<Body>) -> Result<Identified> {
        let path = request.uri().path();
        let certificate = call.usage().and_then(Usage::certificate);
        let identified = match &self.gate {
            Some(gate) => gate.identify(path, request.headers(), certificate),
            None if path.starts_with(HEALTH) => Ok(Identified::Public),
            None => Err(Error::MethodUnknown),
        };
        identified.inspect_err(|error| self.note_stranger(error, call, path))
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
        > + Clone
        + Send
        + Sync
        + 'static,
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
        let identified = shared.identify(&call, &request);
        if let Ok(Identified::Undecided(wait)) = identified {
            return Box::pin(once_decided(Arc::clone(shared), wait, call, request));
        }
        let admitted = identified.and_then(|who| admit(who, &mut call, &mut request));
        let work = match admitted {
            Ok(work) => work,
            Err(error) => return Box::pin(ready(Ok(call.fail(&status(error))))),
        };
        // Started here and not inside the future: tonic then starts its own timer for the caller's
        // limit, and ours must expire first.
        let limit = time_limit(request.headers());
        let handler = at_work(work, shared.inner.clone().call(request));
        let handler = call.trace().clone().scope(handler);
        let answer = timeout(limit, AssertUnwindSafe(handler).catch_unwind());
        Box::pin(answer.map(move |handled| Ok(answered(call, handled))))
    }
}

/// Lets the call in, and returns its work; `None` for health and reflection, which are not
/// counted among the calls at work. A call whose caller is still undecided has waited in vain.
fn admit(
    identified: Identified,
    call: &mut Call,
    request: &mut Request<Body>,
) -> Result<Option<Arc<Work>>> {
    match identified {
        Identified::Caller(caller, permission) => call.admit(caller, permission, request).map(Some),
        Identified::Public => {
            let is_reflection = request.uri().path().starts_with(REFLECTION);
            call.admit_public(is_reflection, request)?;
            Ok(None)
        }
        Identified::Undecided(wait) => Err(wait.in_vain()),
    }
}

/// A call whose caller is known only once the keys that verify its token were fetched. The wait counts
/// for the call's time limit.
async fn once_decided<S>(
    shared: Arc<Shared<S>>,
    wait: Wait,
    mut call: Call,
    mut request: Request<Body>,
) -> Result<Response<CallBody>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    let limit = time_limit(request.headers());
    let begun = &mut call;
    let handled = timeout(limit, async move {
        wait.done().await;
        let identified = shared.identify(begun, &request)?;
        let work = admit(identified, begun, &mut request)?;
        let handler = at_work(work, shared.inner.clone().call(request));
        let handler = begun.trace().clone().scope(handler);
        Ok(AssertUnwindSafe(handler).catch_unwind().await)
    });
    Ok(match handled.await {
        Ok(Ok(handled)) => answered(call, Ok(handled)),
        Ok(Err(error)) => call.fail(&status(error)),
        Err(elapsed) => answered(call, Err(elapsed)),
    })
}

/// The answer to a call that was handled, or not in time.
fn answered(
    mut call: Call,
    handled: Result<Result<Result<Response<Body>, Infallible>, Panic>, Elapsed>,
) -> Response<CallBody> {
    match handled {
        Ok(Ok(Ok(response))) => call.answer(response),
        Ok(Err(_panic)) => call.fail(&status(Error::internal("the handler panicked"))),
        Err(_elapsed) => call.fail(&Status::deadline_exceeded(
            "the call took longer than allowed",
        )),
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
mod tests;
