//! Limits on watches of revocations.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// How many watches there may be. They hold open calls, of which others need some too.
const WATCHES: usize = 256;
/// How many snapshots are told at once.
const SNAPSHOTS: usize = 4;
/// How long a watch waits for its snapshot to begin.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// When to try again if there are too many.
const BUSY: Error = Error::Busy {
    retry_after: Duration::from_secs(5),
};

/// The places of watches. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    places: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
}

impl Watches {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(WATCHES)),
            snapshots: Arc::new(Semaphore::new(SNAPSHOTS)),
        }
    }

    /// A place for a watch.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| BUSY)
    }

    /// The turn of a snapshot.
    pub(super) async fn snapshot(&self) -> Result<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.snapshots).acquire_owned();
        match timeout(TURN_WITHIN, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(BUSY),
        }
    }
}
