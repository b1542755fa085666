//! Identity providers: requests to them, renewals of the tokens that they issued, and releases of
//! these tokens.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::label::{Cells, Labels, label};
use super::register::register;

label! {
    /// What a provider is asked for.
    Asked = "request" {
        Discovery = "discovery",
        Keys = "keys",
        Code = "code",
        Refresh = "refresh",
        UserInfo = "userinfo",
    }
}

label! {
    /// How a provider answered.
    Answered = "outcome" {
        /// With status 2xx.
        Ok = "ok",
        /// With another status below 500.
        Refused = "refused",
        /// With status 5xx.
        ServerError = "server_error",
        /// No connection came about, or the URL may not be called.
        Unreachable = "unreachable",
        TimedOut = "timed_out",
        /// The connection broke, or the answer was too large.
        Broken = "broken",
    }
}

label! {
    /// How a renewal of provider tokens ended.
    Renewed = "outcome" {
        Renewed = "renewed",
        /// The provider failed in a way that may pass; it is not asked again for a while.
        Backoff = "backoff",
        /// The user has to sign in at the provider again.
        ReconnectRequired = "reconnect_required",
        /// There was no time left to ask the provider.
        Postponed = "postponed",
        /// The outcome could not be stored.
        NotStored = "not_stored",
    }
}

label! {
    /// Where a token is to be put.
    Destination = "target" {
        Placeholders = "placeholders",
        Endpoint = "endpoint",
        McpServer = "mcp_server",
    }
}

label! {
    /// Which token was released.
    Token = "token" {
        Access = "access",
        Id = "id",
    }
}

/// Names and values of labels, of which `provider` is a configured id.
type Series = Vec<(&'static str, String)>;

/// What is counted of providers.
#[derive(Debug)]
pub struct Providers {
    requests: Family<Series, Counter>,
    durations: Family<Series, Histogram>,
    renewals: Family<Series, Counter>,
    pub releases: Cells<(Destination, Token), Counter>,
}

/// What is counted of one provider.
#[derive(Debug)]
pub struct Provider {
    requests: Cells<(Asked, Answered), Counter>,
    durations: Histogram,
    renewals: Cells<Renewed, Counter>,
}

impl Providers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            requests: register(
                registry,
                "countersign_provider_requests",
                "Requests to identity providers",
            ),
            durations: register(
                registry,
                "countersign_provider_request_duration_seconds",
                "How long requests to identity providers took",
            ),
            renewals: register(
                registry,
                "countersign_token_renewals",
                "Attempts to renew users' provider tokens",
            ),
            releases: register(
                registry,
                "countersign_token_releases",
                "Users' provider tokens that were handed to a caller",
            ),
        }
    }

    /// The metrics of the provider with this id, which the configuration names.
    #[must_use]
    pub fn of(&self, id: &str) -> Provider {
        let series = |pairs: Vec<(&'static str, &'static str)>| {
            let provider = std::iter::once(("provider", id));
            let all = provider.chain(pairs);
            all.map(|(name, value)| (name, value.to_owned())).collect()
        };
        let of =
            |family: &Family<Series, Counter>, pairs| family.get_or_create_owned(&series(pairs));
        Provider {
            requests: Cells::from_fn(|labels: (Asked, Answered)| {
                of(&self.requests, labels.pairs())
            }),
            durations: self.durations.get_or_create_owned(&series(Vec::new())),
            renewals: Cells::from_fn(|renewed: Renewed| of(&self.renewals, renewed.pairs())),
        }
    }
}

impl Provider {
    /// Counts a request.
    pub fn request(&self, asked: Asked, answered: Answered, took: Duration) {
        self.requests.of((asked, answered)).inc();
        self.durations.observe(took);
    }

    /// Counts a renewal.
    pub fn renewal(&self, renewed: Renewed) {
        self.renewals.of(renewed).inc();
    }
}
