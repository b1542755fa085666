//! LibreChat's defaults and metrics, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::moderation as config;
use crate::metrics::{self, Metrics};

pub(super) fn metrics() -> Arc<metrics::Moderation> {
    Metrics::new(&Clock::system()).moderation
}

pub(super) fn config() -> config::Moderation {
    config::Moderation {
        ban_violations: true,
        ban_duration: Duration::from_hours(2),
        ban_interval: 20,
        score_ttl: Some(Duration::from_hours(1)),
        scores: BTreeMap::from([("logins", 1), ("registrations", 1), ("non_browser", 20)]),
        login: config::Limit {
            max: 7,
            window: Duration::from_mins(5),
        },
        register: config::Limit {
            max: 5,
            window: Duration::from_hours(1),
        },
    }
}
