//! Calls.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::label::{Cells, Label, label};
use super::register::register;
use crate::clock::Clock;
use crate::error::Reason;

// The label `Method`, with every RPC of the protos, of health and of reflection.
include!(concat!(env!("OUT_DIR"), "/methods.rs"));

label! {
    /// A status code of gRPC; the order is that of their numbers.
    StatusCode = "rpc_response_status_code" {
        Ok = "OK",
        Cancelled = "CANCELLED",
        Unknown = "UNKNOWN",
        InvalidArgument = "INVALID_ARGUMENT",
        DeadlineExceeded = "DEADLINE_EXCEEDED",
        NotFound = "NOT_FOUND",
        AlreadyExists = "ALREADY_EXISTS",
        PermissionDenied = "PERMISSION_DENIED",
        ResourceExhausted = "RESOURCE_EXHAUSTED",
        FailedPrecondition = "FAILED_PRECONDITION",
        Aborted = "ABORTED",
        OutOfRange = "OUT_OF_RANGE",
        Unimplemented = "UNIMPLEMENTED",
        Internal = "INTERNAL",
        Unavailable = "UNAVAILABLE",
        DataLoss = "DATA_LOSS",
        Unauthenticated = "UNAUTHENTICATED",
    }
}

impl StatusCode {
    /// The code with this number.
    #[must_use]
    pub fn of(number: i32) -> Self {
        let index = usize::try_from(number).ok();
        let code = index.and_then(|index| Self::ALL.get(index));
        code.copied().unwrap_or(Self::Unknown)
    }
}

impl Label for Reason {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = Reason::ALL;

    fn value(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What is counted of calls.
#[derive(Debug)]
pub struct Rpc {
    clock: Clock,
    durations: Cells<(Method, StatusCode), Histogram>,
    errors: Cells<Reason, Counter>,
    in_flight: Gauge,
}

impl Rpc {
    pub(super) fn new(registry: &mut Registry, clock: &Clock) -> Self {
        Self {
            clock: clock.clone(),
            durations: register(
                registry,
                "rpc_server_call_duration_seconds",
                "How long calls took until the answer was complete",
            ),
            errors: register(
                registry,
                "countersign_rpc_errors",
                "Errors that calls were answered with",
            ),
            in_flight: register(
                registry,
                "countersign_rpc_calls_in_flight",
                "Calls that have begun and whose answer is not complete",
            ),
        }
    }

    /// Notes that a call of the RPC with this path begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>, path: &str) -> TimedCall {
        self.in_flight.inc();
        TimedCall {
            rpc: Arc::clone(self),
            method: Method::of(path),
            began: self.clock.elapsed(),
            ended: false,
        }
    }
}

/// A call that has begun. If it is dropped before its end is noted, it was cancelled.
#[derive(Debug)]
pub struct TimedCall {
    rpc: Arc<Rpc>,
    method: Method,
    began: Duration,
    ended: bool,
}

impl TimedCall {
    /// The full name of its RPC, such as `countersign.v1.TokenService/VerifyToken`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method.value()
    }

    /// Notes that the call ends well.
    pub fn succeed(&mut self) {
        self.end(StatusCode::Ok);
    }

    /// Notes that the call ends with an error.
    pub fn fail(&mut self, code: StatusCode, reason: Reason) {
        if self.end(code) {
            self.rpc.errors.of(reason).inc();
        }
    }

    /// Only the first end of a call counts; returns whether this is it.
    fn end(&mut self, code: StatusCode) -> bool {
        if std::mem::replace(&mut self.ended, true) {
            return false;
        }
        let took = self.rpc.clock.elapsed().saturating_sub(self.began);
        self.rpc.durations.of((self.method, code)).observe(took);
        self.rpc.in_flight.dec();
        true
    }
}

impl Drop for TimedCall {
    fn drop(&mut self) {
        self.end(StatusCode::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_rpc_is_not_a_label() {
        let method = |path| Method::of(path).value();
        assert_eq!(
            method("/countersign.v1.TokenService/VerifyToken"),
            "countersign.v1.TokenService/VerifyToken"
        );
        assert_eq!(
            method("/grpc.health.v1.Health/Check"),
            "grpc.health.v1.Health/Check"
        );
        for path in [
            "",
            "/",
            "/canary.Service/Method",
            "/countersign.v1.TokenService/Canary",
        ] {
            assert_eq!(method(path), "_OTHER", "{path}");
        }
    }

    #[test]
    fn codes_have_the_numbers_of_grpc() {
        assert_eq!(StatusCode::of(0), StatusCode::Ok);
        assert_eq!(StatusCode::of(16), StatusCode::Unauthenticated);
        assert_eq!(StatusCode::of(17), StatusCode::Unknown);
        assert_eq!(StatusCode::of(-1), StatusCode::Unknown);
    }
}
