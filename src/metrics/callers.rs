//! Callers: their limits, and their JWTs.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// A limit that a caller may have, as it is called in the callers' file.
    CallerLimit = "limit" {
        /// Calls that begin in a second.
        PerSecond = "per_second",
        /// Open calls.
        Concurrent = "concurrent",
    }
}

label! {
    /// Why a caller's JWT was refused.
    CallerTokenRefusal = "reason" {
        /// It is not of the form that callers' JWTs have.
        Malformed = "malformed",
        /// No caller, or more than one, has its issuer, audience and subject.
        NoCaller = "no_caller",
        Expired = "expired",
        /// It begins later, or was issued later than now.
        NotYetValid = "not_yet_valid",
        TooLongLived = "too_long_lived",
        /// The issuer has no such key.
        KeyUnknown = "key_unknown",
        SignatureWrong = "signature_wrong",
        /// The issuer's keys could not be fetched.
        NoKeys = "no_keys",
    }
}

label! {
    /// How a request for keys ended.
    KeyFetch = "outcome" {
        Ok = "ok",
        Failed = "failed",
    }
}

/// What is counted of callers.
#[derive(Debug)]
pub struct Callers {
    limited: Cells<CallerLimit, Counter>,
    refused: Cells<CallerTokenRefusal, Counter>,
    fetches: Cells<KeyFetch, Counter>,
}

impl Callers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            limited: register(
                registry,
                "countersign_caller_limit_refusals",
                "Calls that were refused because their caller had reached one of its limits",
            ),
            refused: register(
                registry,
                "countersign_caller_jwts_refused",
                "Callers' JWTs that were refused",
            ),
            fetches: register(
                registry,
                "countersign_caller_key_fetches",
                "Requests for the keys that verify callers' JWTs",
            ),
        }
    }

    /// Counts a call that was refused because of a limit.
    pub fn limited(&self, limit: CallerLimit) {
        self.limited.of(limit).inc();
    }

    /// Counts a JWT that was refused.
    pub fn refused(&self, reason: CallerTokenRefusal) {
        self.refused.of(reason).inc();
    }

    /// Counts a request for keys.
    pub fn fetched(&self, outcome: KeyFetch) {
        self.fetches.of(outcome).inc();
    }
}
