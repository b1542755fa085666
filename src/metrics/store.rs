//! The store's connections and statements.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::label::{Cells, Label as _, label};
use super::register::register;

label! {
    /// What the connections of a pool are for.
    Pool = "pool" {
        /// On SQLite, for reading.
        Readers = "readers",
        /// On SQLite, the one for writing.
        Writer = "writer",
        /// On PostgreSQL, for everything.
        All = "all",
    }
}

label! {
    /// Why a call got no connection.
    NoConnection = "reason" {
        /// Others' work took too long.
        Overloaded = "overloaded",
        /// The database did not answer in time.
        Silent = "silent",
        /// It does not answer, and another call asks it already.
        Down = "down",
        /// It refused the connection.
        Refused = "refused",
    }
}

label! {
    /// Whose work takes turns at the store.
    Lane = "lane" {
        SignIns = "sign_ins",
        Reports = "reports",
    }
}

label! {
    /// What work that takes turns does.
    Turn = "state" {
        Waiting = "waiting",
        Running = "running",
    }
}

type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];

/// What is counted of the store.
#[derive(Debug)]
pub struct Store {
    open: Family<Two, Gauge>,
    most: Family<One, Gauge>,
    waiting: Family<One, Gauge>,
    waits: Family<One, Histogram>,
    failures: Family<Two, Counter>,
    statements: Statements,
    pub turns: Cells<(Lane, Turn), Gauge>,
    /// Work that got no turn.
    pub turned_away: Cells<Lane, Counter>,
}

/// What is counted of statements, whose names are those in the source code.
#[derive(Clone, Debug)]
struct Statements {
    durations: Family<One, Histogram>,
    failures: Family<One, Counter>,
}

/// What is counted of one pool.
#[derive(Debug)]
pub struct Pooled {
    pub in_use: Gauge,
    pub idle: Gauge,
    /// Calls that wait for one.
    pub waiting: Gauge,
    pub waits: Histogram,
    failures: Cells<NoConnection, Counter>,
    statements: Statements,
}

impl Store {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            open: register(
                registry,
                "countersign_store_connections",
                "Open connections to the database",
            ),
            most: register(
                registry,
                "countersign_store_connections_max",
                "How many connections to the database there may be",
            ),
            waiting: register(
                registry,
                "countersign_store_connections_waiting",
                "Pieces of work that wait for a connection to the database",
            ),
            waits: register(
                registry,
                "countersign_store_connection_wait_seconds",
                "How long work waited for a connection to the database until it had one or gave up",
            ),
            failures: register(
                registry,
                "countersign_store_connection_failures",
                "Pieces of work that got no connection to the database",
            ),
            statements: Statements {
                durations: register(
                    registry,
                    "countersign_store_statement_duration_seconds",
                    "How long statements of the database took",
                ),
                failures: register(
                    registry,
                    "countersign_store_statement_failures",
                    "Statements of the database that failed",
                ),
            },
            turns: register(
                registry,
                "countersign_store_turns",
                "Sign-ins and reports that wait for the database, and those at work",
            ),
            turned_away: register(
                registry,
                "countersign_store_turns_refused",
                "Sign-ins and reports that were refused because too many waited for the database",
            ),
        }
    }

    /// The metrics of a pool of at most `most` connections.
    #[must_use]
    pub fn pool(&self, pool: Pool, most: u32) -> Pooled {
        let one = [(Pool::NAME, pool.value())];
        let two = |name, value| [one[0], (name, value)];
        self.most.get_or_create(&one).set(most.into());
        let failure = |reason: NoConnection| {
            let labels = two(NoConnection::NAME, reason.value());
            self.failures.get_or_create_owned(&labels)
        };
        Pooled {
            in_use: self.open.get_or_create_owned(&two("state", "in_use")),
            idle: self.open.get_or_create_owned(&two("state", "idle")),
            waiting: self.waiting.get_or_create_owned(&one),
            waits: self.waits.get_or_create_owned(&one),
            failures: Cells::from_fn(failure),
            statements: self.statements.clone(),
        }
    }
}

impl Pooled {
    /// Counts a piece of work that got no connection.
    pub fn fail(&self, reason: NoConnection) {
        self.failures.of(reason).inc();
    }

    /// Counts a statement and its failure, if it failed.
    pub fn statement(&self, name: &'static str, took: Duration, failure: Option<&'static str>) {
        let name = [("statement", name)];
        self.statements.durations.get_or_create(&name).observe(took);
        if let Some(reason) = failure {
            let reason = [("reason", reason)];
            self.statements.failures.get_or_create(&reason).inc();
        }
    }
}
