//! Caches what the store said about a session until it changes.
//!
//! The users of an entry own it. The index holds weak references only, to find the entry of a
//! session that changed. A value is cached only if no change arrived while it was read.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::id::SessionId;
use crate::store::changes::{Change, Changes};

/// After this time a value is read again, because another process may have changed it.
const FRESH: Duration = Duration::from_secs(1);

/// Values by session. Changes by this process take effect at once, changes by other processes
/// within a second.
pub struct Cache<V> {
    clock: Clock,
    index: Arc<Index<V>>,
}

struct Index<V> {
    entries: Mutex<HashMap<SessionId, Weak<Entry<V>>>>,
    /// How many changes so far may have affected every session.
    all_changes: AtomicU64,
}

/// The cached value of one session.
pub struct Entry<V> {
    session: SessionId,
    known: RwLock<Known<V>>,
    /// Held while the store is read, so that concurrent calls read once.
    loading: tokio::sync::Mutex<()>,
    index: Weak<Index<V>>,
}

struct Known<V> {
    value: Option<Arc<V>>,
    read_at: Duration,
    /// How much had changed when the value was read.
    version: Version,
    /// How many changes of this session there were.
    changes: u64,
}

/// The numbers of changes when a value was read, to detect a change during the read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Version {
    all_changes: u64,
    changes: u64,
}

/// Which values of a cache a change affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affects<'a> {
    Nothing,
    Session(&'a SessionId),
    All,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// An empty cache that follows the store's changes; `affects` says which values each change
    /// invalidates.
    pub fn new(clock: Clock, changes: &Changes, affects: fn(&Change) -> Affects<'_>) -> Self {
        let index = Arc::new(Index {
            entries: Mutex::default(),
            all_changes: AtomicU64::new(0),
        });
        let followed = Arc::clone(&index);
        changes.listen(move |change| followed.apply(affects(change)));
        Self { clock, index }
    }

    /// The entry of a session, created if there is none.
    pub fn entry(&self, session: &SessionId) -> Arc<Entry<V>> {
        let mut entries = lock(&self.index.entries);
        if let Some(entry) = entries.get(session).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry {
            session: session.clone(),
            known: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            index: Arc::downgrade(&self.index),
        });
        entries.insert(session.clone(), Arc::downgrade(&entry));
        entry
    }

    /// Drops the value of a session that another process is known to have changed.
    pub fn forget(&self, session: &SessionId) {
        self.index.apply(Affects::Session(session));
    }

    /// The value: from memory if it is fresh, otherwise loaded, once for all concurrent calls.
    pub async fn get<E>(
        &self,
        entry: &Entry<V>,
        load: impl AsyncFnOnce(&SessionId) -> Result<Option<V>, E>,
    ) -> Result<Option<Arc<V>>, E> {
        if let Some(value) = self.fresh(entry) {
            return Ok(Some(value));
        }
        let _loading = entry.loading.lock().await;
        // Another call may have read it while this one waited.
        if let Some(value) = self.fresh(entry) {
            return Ok(Some(value));
        }
        // Noted before the read: a value that changes while it is read must not be cached.
        let (version, read_at) = (self.version(entry), self.clock.elapsed());
        let Some(value) = load(&entry.session).await? else {
            return Ok(None);
        };
        let value = Arc::new(value);
        self.keep(entry, version, read_at, &value);
        Ok(Some(value))
    }

    fn fresh(&self, entry: &Entry<V>) -> Option<Arc<V>> {
        let known = entry.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known.version.all_changes == self.index.all_changes.load(Ordering::SeqCst)
            && self.clock.elapsed().saturating_sub(known.read_at) <= FRESH;
        if is_fresh { known.value.clone() } else { None }
    }

    fn version(&self, entry: &Entry<V>) -> Version {
        let known = entry.known.read().unwrap_or_else(PoisonError::into_inner);
        Version {
            all_changes: self.index.all_changes.load(Ordering::SeqCst),
            changes: known.changes,
        }
    }

    fn keep(&self, entry: &Entry<V>, version: Version, read_at: Duration, value: &Arc<V>) {
        let mut known = entry.known.write().unwrap_or_else(PoisonError::into_inner);
        let unchanged = known.changes == version.changes
            && self.index.all_changes.load(Ordering::SeqCst) == version.all_changes;
        if unchanged {
            known.value = Some(Arc::clone(value));
            known.read_at = read_at;
            known.version = version;
        }
    }
}

impl<V> Index<V> {
    fn apply(&self, affects: Affects<'_>) {
        match affects {
            Affects::Nothing => {}
            Affects::All => {
                self.all_changes.fetch_add(1, Ordering::SeqCst);
            }
            Affects::Session(session) => {
                // The index is unlocked again before the entry is used: dropping an entry's last
                // reference locks the index.
                let entry = lock(&self.entries).get(session).and_then(Weak::upgrade);
                if let Some(entry) = entry {
                    let mut known = entry.known.write().unwrap_or_else(PoisonError::into_inner);
                    known.value = None;
                    known.changes += 1;
                }
            }
        }
    }
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self {
            value: None,
            read_at: Duration::ZERO,
            version: Version::default(),
            changes: 0,
        }
    }
}

impl<V> Drop for Entry<V> {
    fn drop(&mut self) {
        if let Some(index) = self.index.upgrade() {
            let mut entries = lock(&index.entries);
            // A new entry may have replaced this one after its last reference was dropped.
            if entries
                .get(&self.session)
                .is_some_and(|entry| entry.strong_count() == 0)
            {
                entries.remove(&self.session);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::clock::Timestamp;

    fn cache() -> (Cache<u32>, Changes, Clock) {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let changes = Changes::default();
        let cache = Cache::new(clock.clone(), &changes, |change| match change {
            Change::SessionRevoked(session) => Affects::Session(session),
            Change::UserChanged(_) => Affects::All,
            Change::TokensChanged(_) => Affects::Nothing,
        });
        (cache, changes, clock)
    }

    async fn get(cache: &Cache<u32>, entry: &Entry<u32>, value: u32) -> u32 {
        let got = cache.get(entry, async |_| Ok::<_, Infallible>(Some(value)));
        *got.await.expect("never fails").expect("a value")
    }

    #[tokio::test]
    async fn a_value_is_kept_for_a_second_and_until_it_changes() {
        let (cache, changes, clock) = cache();
        let session = SessionId::new();
        let entry = cache.entry(&session);
        assert_eq!(get(&cache, &entry, 1).await, 1);
        assert_eq!(get(&cache, &entry, 2).await, 1);
        clock.advance(FRESH + Duration::from_millis(1));
        assert_eq!(get(&cache, &entry, 3).await, 3);
        changes.publish(&Change::TokensChanged(session.clone()));
        assert_eq!(get(&cache, &entry, 4).await, 3);
        changes.publish(&Change::SessionRevoked(SessionId::new()));
        assert_eq!(get(&cache, &entry, 5).await, 3);
        changes.publish(&Change::SessionRevoked(session));
        assert_eq!(get(&cache, &entry, 6).await, 6);
        changes.publish(&Change::UserChanged(crate::id::UserId::new(clock.now())));
        assert_eq!(get(&cache, &entry, 7).await, 7);
    }

    #[tokio::test]
    async fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (cache, changes, _) = cache();
        let session = SessionId::new();
        let entry = cache.entry(&session);
        let read = cache.get(&entry, async |session| {
            changes.publish(&Change::SessionRevoked(session.clone()));
            Ok::<_, Infallible>(Some(1))
        });
        assert_eq!(read.await.expect("never fails").as_deref(), Some(&1));
        assert_eq!(get(&cache, &entry, 2).await, 2);
    }

    #[test]
    fn an_entry_that_nobody_holds_is_gone() {
        let (cache, ..) = cache();
        let session = SessionId::new();
        drop(cache.entry(&session));
        assert!(lock(&cache.index.entries).is_empty());
    }
}
