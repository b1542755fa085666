//! Caches what the store said about a session until the session or its user changes.
//!
//! The users of an entry own it. The index holds weak references only, so that all of them find
//! the same entry. A value counts only if nothing changed since its reading began.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Result;
use crate::feed::Feed;
use crate::feed::flight::{Flight, Flights};
use crate::feed::stamps::{Slot, Stamps};
use crate::id::{SessionId, UserId};
use crate::store::announcements::{Announcement, Announcements};

/// After this time a value is read again, because another process may have changed it, unless the
/// change feed says that nobody has.
pub const FRESH: Duration = Duration::from_secs(1);
/// After this time a value is read again whatever the change feed says, because somebody may have changed
/// rows by hand, or a process of a version that wrote no feed.
pub const LONGEST: Duration = Duration::from_mins(5);
/// For how long a value counts that was last known to be true, if the store does not answer and the
/// call may do without it.
pub const WITHOUT_STORE: Duration = Duration::from_secs(30);

/// Values by session. Changes by this process take effect at once, changes by other processes within
/// a second.
pub struct Cache<V: Cached> {
    clock: Clock,
    index: Arc<Index<V>>,
    /// Tells what other processes change, if it tells all that the values depend on.
    feed: Option<Feed>,
}

struct Index<V: Cached> {
    entries: Mutex<HashMap<SessionId, Weak<Entry<V>>>>,
    stamps: Stamps,
}

/// The cached value of one session.
pub struct Entry<V: Cached> {
    session: SessionId,
    slot: Slot,
    known: RwLock<Option<Known<V>>>,
    /// What this process notes of the session, whatever the value.
    note: V::Note,
    readings: Flights<Landed<V>>,
    index: Weak<Index<V>>,
}

struct Known<V> {
    value: Arc<V>,
    user: Option<Slot>,
    began: Moment,
}

/// A moment in the order of changes. Take it before a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// How many changes there were.
    changes: u64,
    time: Duration,
}

/// The result of a reading, the failure too, for all that waited for it.
struct Landed<V> {
    began: Moment,
    answer: Result<Option<Arc<V>>>,
}

impl<V> Clone for Landed<V> {
    fn clone(&self) -> Self {
        Self {
            began: self.began,
            answer: self.answer.clone(),
        }
    }
}

/// Which values of a cache a change affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affects<'a> {
    Nothing,
    Session(&'a SessionId),
    User(&'a UserId),
    Everything,
}

/// A value that a cache can hold.
pub trait Cached: Send + Sync + 'static {
    /// What a process notes of a session, as long as the session has an entry.
    type Note: Default + Send + Sync;

    /// The user whose changes affect it.
    fn user(&self) -> Option<&UserId>;
}

impl<V: Cached> Cache<V> {
    /// An empty cache; `affects` says which values each announcement invalidates.
    pub fn new(
        clock: Clock,
        announcements: &Announcements,
        affects: fn(&Announcement) -> Affects<'_>,
    ) -> Self {
        let index = Arc::new(Index {
            entries: Mutex::default(),
            stamps: Stamps::new(),
        });
        let followed = Arc::clone(&index);
        announcements.listen(move |announcement| followed.apply(affects(announcement)));
        let feed = None;
        Self { clock, index, feed }
    }

    /// Keeps values until the change feed tells of a change.
    #[must_use]
    pub fn following(self, feed: Feed) -> Self {
        let feed = Some(feed);
        Self { feed, ..self }
    }

    /// The entry of a session, created if there is none.
    pub fn entry(&self, session: &SessionId) -> Arc<Entry<V>> {
        let mut entries = lock(&self.index.entries);
        if let Some(entry) = entries.get(session).and_then(Weak::upgrade) {
            return entry;
        }
        let entry = Arc::new(Entry {
            session: session.clone(),
            slot: self.index.stamps.slot(session),
            known: RwLock::default(),
            note: V::Note::default(),
            readings: Flights::default(),
            index: Arc::downgrade(&self.index),
        });
        entries.insert(session.clone(), Arc::downgrade(&entry));
        entry
    }

    /// The entry of a session, if there is one.
    pub fn find(&self, session: &SessionId) -> Option<Arc<Entry<V>>> {
        lock(&self.index.entries)
            .get(session)
            .and_then(Weak::upgrade)
    }

    /// This moment. A value that is read from now on may be given to [`Cache::keep`] with it.
    pub fn moment(&self) -> Moment {
        Moment {
            changes: self.index.stamps.changes(),
            time: self.clock.elapsed(),
        }
    }

    /// Keeps a value whose reading began at that moment. It counts only if nothing of it has
    /// changed since.
    pub fn keep(&self, entry: &Entry<V>, value: Arc<V>, began: Moment) {
        let user = value.user().map(|user| self.index.stamps.slot(user));
        let mut known = entry.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.began < began) {
            *known = Some(Known { value, user, began });
        }
    }

    /// Drops the value of a session that another process is known to have changed.
    pub fn forget(&self, session: &SessionId) {
        self.index.apply(Affects::Session(session));
    }

    /// The value if it is fresh in memory.
    pub fn fresh(&self, entry: &Entry<V>) -> Option<Arc<V>> {
        self.known(entry, |age| {
            age <= FRESH || age <= LONGEST && self.feed.as_ref().is_some_and(Feed::is_current)
        })
    }

    /// The value if it is fresh in memory, or is once the change feed has been read.
    pub async fn caught_up(&self, entry: &Entry<V>) -> Option<Arc<V>> {
        let fresh = self.fresh(entry);
        if fresh.is_some() {
            return fresh;
        }
        self.unchanged(entry)?;
        if self.catch_up().await {
            self.unchanged(entry)
        } else {
            None
        }
    }

    /// The value in memory that counts if the change feed is read; `None` without a feed.
    pub fn unchanged(&self, entry: &Entry<V>) -> Option<Arc<V>> {
        self.feed.as_ref()?;
        self.known(entry, |age| age <= LONGEST)
    }

    /// Waits until the change feed has been read; `false` if it cannot be read in time.
    pub async fn catch_up(&self) -> bool {
        match &self.feed {
            // Boxed, because the rare path would make the future of every verification larger.
            Some(feed) => Box::pin(feed.catch_up()).await,
            None => false,
        }
    }

    /// Whether the change feed cannot be read because the store answers nobody.
    pub fn is_store_silent(&self) -> bool {
        self.feed.as_ref().is_some_and(Feed::is_silent)
    }

    /// The value if it was known to be true at most [`WITHOUT_STORE`] ago, for a call that may be
    /// answered although the store does not answer.
    pub fn last_known(&self, entry: &Entry<V>) -> Option<Arc<V>> {
        let feed = self.feed.as_ref()?;
        self.known(entry, |age| feed.age().min(age) <= WITHOUT_STORE)
    }

    /// The value in memory, if nothing of it has changed since it was read and `counts` accepts how long
    /// ago that was.
    fn known(&self, entry: &Entry<V>, counts: impl FnOnce(Duration) -> bool) -> Option<Arc<V>> {
        let known = entry.known.read().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        let unchanged = !self.has_changed(entry.slot, known.user, known.began);
        let age = self.clock.elapsed().saturating_sub(known.began.time);
        (unchanged && counts(age)).then(|| Arc::clone(&known.value))
    }

    /// The value: from memory if it is fresh, otherwise read, once for all concurrent calls. If the
    /// reading fails, it fails for all of them.
    pub async fn get<F>(
        &self,
        entry: &Entry<V>,
        read: impl Fn(SessionId) -> F,
    ) -> Result<Option<Arc<V>>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        if let Some(value) = self.fresh(entry) {
            return Ok(Some(value));
        }
        let now = self.moment();
        let landed = self.read(entry, &read).await;
        if self.is_good_at(now, entry, &landed) {
            return landed.answer;
        }
        // That reading had begun before this call. The next one begins after it.
        self.read(entry, &read).await.answer
    }

    /// The result of the reading that is under way, or else of a new one.
    async fn read<F>(&self, entry: &Entry<V>, read: &impl Fn(SessionId) -> F) -> Landed<V>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        let landed = self.board(entry, read).await;
        if let Ok(Some(value)) = &landed.answer {
            self.keep(entry, Arc::clone(value), landed.began);
        }
        landed
    }

    fn board<F>(&self, entry: &Entry<V>, read: &impl Fn(SessionId) -> F) -> Flight<Landed<V>>
    where
        F: Future<Output = Result<Option<V>>> + Send + 'static,
    {
        entry.readings.board(|| {
            let (began, reading) = (self.moment(), read(entry.session.clone()));
            async move {
                let answer = reading.await.map(|value| value.map(Arc::new));
                Landed { began, answer }
            }
        })
    }

    /// Whether a call that began at `now` may use the result of a reading that may have begun
    /// before: it must not miss a change that was announced before the call.
    fn is_good_at(&self, now: Moment, entry: &Entry<V>, landed: &Landed<V>) -> bool {
        let began = landed.began;
        let Ok(value) = &landed.answer else {
            return true;
        };
        if began >= now {
            return true;
        }
        let user = value.as_ref().and_then(|value| value.user());
        let user = user.map(|user| self.index.stamps.slot(user));
        // What was not found has no user whose changes could be looked up.
        let unchanged = began.changes == now.changes
            || value.is_some() && !self.has_changed(entry.slot, user, began);
        unchanged && now.time.saturating_sub(began.time) <= FRESH
    }

    fn has_changed(&self, session: Slot, user: Option<Slot>, since: Moment) -> bool {
        let is_after = |slot| self.index.stamps.is_after(slot, since.changes);
        is_after(session) || user.is_some_and(is_after)
    }
}

impl<V: Cached> Index<V> {
    fn apply(&self, affects: Affects<'_>) {
        let slot = match affects {
            Affects::Nothing => return,
            Affects::Session(session) => self.stamps.slot(session),
            Affects::User(user) => self.stamps.slot(user),
            Affects::Everything => return self.stamps.mark_all(),
        };
        self.stamps.mark(slot);
    }
}

impl<V: Cached> Entry<V> {
    /// The session whose value it holds.
    pub fn id(&self) -> &SessionId {
        &self.session
    }

    /// What this process notes of the session.
    pub fn note(&self) -> &V::Note {
        &self.note
    }
}

impl<V: Cached> Drop for Entry<V> {
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

impl<V: Cached> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl<V: Cached> fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
