//! The change feed.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::register::register;

/// What is counted of following the change feed.
#[derive(Debug)]
pub struct Feed {
    pub changes: Counter,
    pub failures: Counter,
    pub resets: Counter,
}

impl Feed {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            changes: register(
                registry,
                "countersign_change_feed_changes",
                "Changes that were read from the change feed, this process's own too",
            ),
            failures: register(
                registry,
                "countersign_change_feed_failures",
                "How often the change feed could not be read",
            ),
            resets: register(
                registry,
                "countersign_change_feed_resets",
                "How often all that was remembered of sessions was dropped, because the change feed began anew or had a gap",
            ),
        }
    }
}
