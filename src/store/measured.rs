//! What is measured of work at the database, also if the work is cancelled.

use std::time::Duration;

use super::connection::Connection;
use super::error::StoreError;
use super::statement::Statement;
use crate::clock::Clock;
use crate::metrics::{GaugeGuard, NoConnection, Pooled};
use crate::trace::Span;

/// How a statement ended whose call was cancelled.
pub(super) const CANCELLED: &str = "cancelled";

/// A wait for a connection. It is measured when this is dropped.
pub(super) struct Wait<'a> {
    metrics: &'a Pooled,
    clock: &'a Clock,
    began: Duration,
    was_refused: bool,
    _waiting: GaugeGuard,
}

impl<'a> Wait<'a> {
    pub(super) fn begin(metrics: &'a Pooled, clock: &'a Clock) -> Self {
        Self {
            metrics,
            clock,
            began: clock.elapsed(),
            was_refused: false,
            _waiting: GaugeGuard::new(&metrics.waiting),
        }
    }

    /// Ends the wait because the database refused a connection. How long that took tells nothing about
    /// waits.
    pub(super) fn refuse(mut self) {
        self.was_refused = true;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.was_refused {
            let waited = self.clock.elapsed().saturating_sub(self.began);
            self.metrics.waits.observe(waited);
        }
    }
}

/// Why work got no connection.
pub(super) const fn no_connection(error: &StoreError) -> NoConnection {
    match error {
        StoreError::Overloaded => NoConnection::Overloaded,
        StoreError::Silent => NoConnection::Silent,
        StoreError::Down => NoConnection::Down,
        _ => NoConnection::Refused,
    }
}

/// A statement under way.
pub(super) struct Begun {
    name: &'static str,
    at: Duration,
    span: Span,
}

impl Begun {
    pub(super) fn new(statement: Statement, connection: &Connection, clock: &Clock) -> Self {
        Self {
            name: statement.name,
            at: clock.elapsed(),
            span: statement.span(connection),
        }
    }

    /// Measures the statement and ends its span, with the kind of its failure.
    pub(super) fn end(mut self, failure: Option<&'static str>, metrics: &Pooled, clock: &Clock) {
        let took = clock.elapsed().saturating_sub(self.at);
        metrics.statement(self.name, took, failure);
        if let Some(kind) = failure {
            self.span.fail(kind);
        }
    }
}
