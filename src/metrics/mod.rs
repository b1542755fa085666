//! What the service counts and measures. No label holds a user, a session, a token, an address or a
//! caller: each has few values, which are known in advance.
//!
//! There is a registry for each service and none for the process, because one process may run
//! several. Each part of the service gets its own topic.

mod caches;
mod callers;
mod connections;
mod feed;
mod gauge;
mod histogram;
mod label;
mod moderation;
mod passwords;
mod providers;
mod register;
mod reload;
mod rpc;
mod sessions;
mod signing_keys;
mod store;
mod tasks;
mod telemetry;

use std::sync::Arc;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::clock::Clock;

pub use caches::{Cache, Caches};
pub use callers::{CallerLimit, CallerTokenRefusal, Callers, KeyFetch};
pub use connections::{Closed, Connections};
pub use feed::Feed;
pub use gauge::GaugeGuard;
pub use label::Label;
pub use moderation::{Attempt, Banned, Cause, Decision, Moderation};
pub use passwords::{Full, Hashing, Passwords};
pub use providers::{Answered, Asked, Destination, Provider, Providers, Renewed, Token};
pub use reload::{File, ReadOutcome, Reloads};
pub use rpc::{Rpc, StatusCode, TimedCall};
pub use sessions::{
    Ended, Exchange, LastSeen, Opened, Reauthenticated, Refreshed, Sessions, Source, Verified,
};
pub use signing_keys::{KeyChange, KeyState, SigningKeys};
pub use store::{Lane, NoConnection, Pool, Pooled, Store, Turn};
pub use tasks::{Task, Tasks};
pub use telemetry::Telemetry;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0 text format.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The metrics of a service, by topic. Clones share everything.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    pub reload: Arc<Reloads>,
    pub rpc: Arc<Rpc>,
    pub caches: Arc<Caches>,
    pub callers: Arc<Callers>,
    pub connections: Arc<Connections>,
    pub feed: Arc<Feed>,
    pub sessions: Arc<Sessions>,
    pub signing_keys: Arc<SigningKeys>,
    pub moderation: Arc<Moderation>,
    pub passwords: Arc<Passwords>,
    pub providers: Arc<Providers>,
    pub store: Arc<Store>,
    pub tasks: Arc<Tasks>,
    pub telemetry: Arc<Telemetry>,
}

impl Metrics {
    /// The metrics of a service that starts now.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "countersign_build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "process_start_time_seconds",
            "When the service started, in seconds since the Unix epoch",
            ConstGauge::new(clock.now().secs()),
        );
        Self {
            reload: Arc::new(Reloads::new(&mut registry)),
            rpc: Arc::new(Rpc::new(&mut registry, clock)),
            caches: Arc::new(Caches::new(&mut registry)),
            callers: Arc::new(Callers::new(&mut registry)),
            connections: Arc::new(Connections::new(&mut registry)),
            feed: Arc::new(Feed::new(&mut registry)),
            sessions: Arc::new(Sessions::new(&mut registry)),
            signing_keys: Arc::new(SigningKeys::new(&mut registry)),
            moderation: Arc::new(Moderation::new(&mut registry)),
            passwords: Arc::new(Passwords::new(&mut registry)),
            providers: Arc::new(Providers::new(&mut registry)),
            store: Arc::new(Store::new(&mut registry)),
            tasks: Arc::new(Tasks::new(&mut registry)),
            telemetry: Arc::new(Telemetry::new(&mut registry)),
            registry: Arc::new(registry),
        }
    }

    /// All metrics as they are now.
    #[must_use]
    pub fn text(&self, format: Format) -> String {
        let mut out = String::new();
        let encoded = match format {
            Format::Prometheus => prometheus_text::encode(&mut out, &self.registry),
            Format::OpenMetrics => text::encode(&mut out, &self.registry),
        };
        if encoded.is_err() {
            tracing::error!("the metrics could not be written");
        }
        out
    }
}

#[cfg(test)]
mod tests;
