//! What this process knows of the signing keys, and what it was told since it read them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::ring::Ring;
use crate::store::announcements::Announcement;

/// The keys in memory. Announcements change them at once, without the store.
pub(super) struct Memory {
    known: RwLock<Known>,
    /// Whether nothing was announced since the keys were read that may be anything.
    counts: AtomicBool,
    /// Tells the task that there is something to be read.
    wake: Notify,
}

struct Known {
    ring: Arc<Ring>,
    /// When the reading of the ring began, by the monotonic clock.
    read_at: Duration,
    /// How many changes of keys were announced.
    announced: u64,
    /// The number of the last change that may be anything.
    anything: u64,
    /// The keys that were revoked after the reading of the ring began, and the number of that change.
    revoked: HashMap<String, u64>,
}

impl Memory {
    pub(super) fn new(ring: Ring, read_at: Duration) -> Self {
        Self {
            known: RwLock::new(Known {
                ring: Arc::new(ring),
                read_at,
                announced: 0,
                anything: 0,
                revoked: HashMap::new(),
            }),
            counts: AtomicBool::new(true),
            wake: Notify::new(),
        }
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.with(|known| Arc::clone(&known.ring))
    }

    /// When the reading of the ring began.
    pub(super) fn read_at(&self) -> Duration {
        self.with(|known| known.read_at)
    }

    /// How many changes of keys were announced; take it before the keys are read that are given to
    /// [`Memory::keep`].
    pub(super) fn announced(&self) -> u64 {
        self.with(|known| known.announced)
    }

    /// Whether what is known counts as long as the change feed is read.
    pub(super) fn counts(&self) -> bool {
        self.counts.load(Ordering::SeqCst)
    }

    /// Ready once there is something to be read.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(super) fn hear(&self, announcement: &Announcement) {
        if !matches!(
            announcement,
            Announcement::KeyRevoked(_) | Announcement::KeysChanged | Announcement::Everything
        ) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.announced += 1;
        let number = known.announced;
        match announcement {
            Announcement::KeyRevoked(kid) => {
                known.ring.refuse(kid);
                known.revoked.insert(kid.clone(), number);
            }
            Announcement::Everything => {
                known.anything = number;
                self.counts.store(false, Ordering::SeqCst);
            }
            _ => {}
        }
        drop(known);
        self.wake.notify_one();
    }

    /// Keeps a ring whose reading began at `read_at`, when so many changes had been announced.
    pub(super) fn keep(&self, ring: Ring, read_at: Duration, announced: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.revoked.retain(|_, number| *number > announced);
        for kid in known.revoked.keys() {
            ring.refuse(kid);
        }
        known.ring.refuse_all_but(&ring);
        known.ring = Arc::new(ring);
        known.read_at = read_at;
        self.counts
            .store(known.anything <= announced, Ordering::SeqCst);
    }

    fn with<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
