//! Everything durable. One function commits one use case; no transaction leaves this module.

mod backend;
mod bans;
mod breaker;
pub mod changes;
#[cfg(test)]
mod conflicts;
mod connection;
mod error;
mod expired;
mod federated_logins;
mod federated_tokens;
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
mod sessions;
mod signing_keys;
mod statement;
#[cfg(test)]
mod statements;
#[cfg(test)]
pub(crate) mod testing;
mod users;
mod violations;

use backend::Pools;
use std::sync::Arc;

use crate::metrics;
use changes::{Change, Changes};
use lanes::Lanes;

pub use backend::Migrated;
pub use error::StoreError;
pub use expired::Expired;
pub use open::{OpenStoreError, Opened};

/// The store, on SQLite or PostgreSQL. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Store {
    pools: Pools,
    changes: Changes,
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
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// How often the database has answered.
    pub fn answers(&self) -> u64 {
        self.pools.answers()
    }

    /// Closes all connections once they are free.
    pub async fn close(&self) {
        self.pools.close().await;
    }

    fn publish(&self, change: &Change) {
        self.changes.publish(change);
    }
}
