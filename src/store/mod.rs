//! Everything durable. One function commits one use case; no transaction leaves this module.

pub mod announcements;
mod backend;
mod bans;
mod breaker;
#[cfg(test)]
mod conflicts;
mod connection;
mod error;
mod expired;
mod federated_logins;
mod federated_tokens;
mod feed;
#[cfg(test)]
mod filling;
mod lanes;
mod limits;
mod markers;
mod measured;
mod open;
#[cfg(test)]
mod plans;
mod pool;
#[cfg(test)]
mod prove;
mod record;
mod sealed;
mod sessions;
mod signing_keys;
mod statement;
#[cfg(test)]
mod statements;
#[cfg(test)]
pub(crate) mod testing;
mod users;
mod violations;

use backend::{Pools, Tx};
use std::sync::Arc;

use crate::clock::Clock;
use crate::metrics;
use announcements::{Announcement, Announcements};
use lanes::Lanes;

pub use backend::Migrated;
pub use error::StoreError;
pub use expired::Expired;
pub use feed::Head;
pub use open::{OpenStoreError, Opened};
pub(crate) use sessions::idle::BATCH as LAST_SEEN_BATCH;
pub use signing_keys::{KeyRevocation, Successor};

/// The store, on SQLite or PostgreSQL. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    announcements: Announcements,
    clock: Clock,
    lanes: Lanes,
    metrics: Committed,
}

/// Where what was committed is counted.
#[derive(Clone, Debug)]
struct Committed {
    sessions: Arc<metrics::Sessions>,
    moderation: Arc<metrics::Moderation>,
}

impl Store {
    /// Announces the changes that this process commits.
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// How often the database has answered.
    pub fn answers(&self) -> u64 {
        self.pools.answers()
    }

    /// Begins a transaction.
    async fn begin(&self) -> Result<Tx, StoreError> {
        let (announcements, clock) = (self.announcements.clone(), self.clock.clone());
        self.pools.begin(announcements, clock).await
    }

    /// Closes all connections once they are free.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    fn publish(&self, change: &Announcement) {
        self.announcements.publish(change);
    }
}
