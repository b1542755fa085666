//! A cache for what another service publishes. Only one call fetches at a time, and the last good value
//! is used during an outage.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Cause;

type Result<T> = std::result::Result<T, Cause>;

/// How long after a failed fetch the next one may begin if there is no value yet: shorter than the
/// usual pause, because whatever needs it fails until then.
const PAUSE_IF_EMPTY: Duration = Duration::from_secs(3);
/// How long the last good value is used while no newer one can be fetched.
const MAX_AGE: Duration = Duration::from_hours(24);

/// A value that is fetched when it is needed.
pub struct Cached<T> {
    clock: Clock,
    fresh: Duration,
    pause: Duration,
    /// Locked only to clone or replace the entry, never during a fetch, so a blocking lock will do.
    /// A poisoned lock may be used: the entry is replaced as a whole.
    entry: RwLock<Option<Entry<T>>>,
    /// When the last fetch began or failed. Locked during a fetch, so that there is only one at a
    /// time.
    last_attempt: tokio::sync::Mutex<Option<Duration>>,
}

struct Entry<T> {
    value: Arc<T>,
    fetched_at: Duration,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            fetched_at: self.fetched_at,
        }
    }
}

impl<T> Cached<T> {
    /// An empty cache. A value is used for `fresh`, and fetched again at most once in `pause`.
    pub fn new(clock: Clock, fresh: Duration, pause: Duration) -> Self {
        Self {
            clock,
            fresh,
            pause,
            entry: RwLock::default(),
            last_attempt: tokio::sync::Mutex::default(),
        }
    }

    /// The value; it is fetched first if there is none or it is no longer fresh.
    pub async fn get(&self, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        let entry = self.entry();
        match &entry {
            Some(entry) if self.age(entry) < self.fresh => Ok(Arc::clone(&entry.value)),
            // Another call is fetching a newer value; this one does not wait for it.
            Some(entry) if self.age(entry) < MAX_AGE && self.last_attempt.try_lock().is_err() => {
                Ok(Arc::clone(&entry.value))
            }
            _ => {
                self.renew(entry.as_ref().map(|entry| &entry.value), fetch)
                    .await
            }
        }
    }

    /// What was fetched last, if it may still be used, and whether it is fresh. Nothing is fetched.
    pub fn known(&self) -> Option<(Arc<T>, bool)> {
        let entry = self.entry()?;
        let age = self.age(&entry);
        (age < MAX_AGE).then_some((entry.value, age < self.fresh))
    }

    /// Whether [`Cached::renew`] would fetch a value, or wait for another call that does.
    pub fn is_due(&self) -> bool {
        let Ok(last_attempt) = self.last_attempt.try_lock() else {
            return true;
        };
        !self.is_too_soon(*last_attempt, self.entry().is_some())
    }

    fn is_too_soon(&self, last_attempt: Option<Duration>, has_value: bool) -> bool {
        let pause = if has_value {
            self.pause
        } else {
            PAUSE_IF_EMPTY
        };
        let since = |at| self.clock.elapsed().saturating_sub(at);
        last_attempt.is_some_and(|at| since(at) < pause)
    }

    /// A newer value than `seen`. If the last fetch was a moment ago or this one fails, the value
    /// that there is.
    pub async fn renew(
        &self,
        seen: Option<&Arc<T>>,
        fetch: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let mut last_attempt = self.last_attempt.lock().await;
        let entry = self.entry();
        // Another call may have fetched a newer value while this one waited for the lock.
        if let Some(entry) = &entry
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &entry.value))
        {
            return Ok(Arc::clone(&entry.value));
        }
        if self.is_too_soon(*last_attempt, entry.is_some()) {
            return self.last_good(entry, "a request failed a moment ago".into());
        }
        // Set before the fetch too, in case this call is cancelled during it.
        *last_attempt = Some(self.clock.elapsed());
        let fetched = fetch.await;
        // The pause begins after the fetch, so that calls that waited through a slow failure do not
        // fetch once more, one after the other.
        *last_attempt = Some(self.clock.elapsed());
        match fetched {
            Ok(value) => Ok(self.put(value)),
            Err(error) => self.last_good(entry, error),
        }
    }

    fn last_good(&self, entry: Option<Entry<T>>, error: Cause) -> Result<Arc<T>> {
        entry
            .filter(|entry| self.age(entry) < MAX_AGE)
            .map(|entry| entry.value)
            .ok_or(error)
    }

    fn entry(&self) -> Option<Entry<T>> {
        self.entry
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn put(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let entry = Entry {
            value: Arc::clone(&value),
            fetched_at: self.clock.elapsed(),
        };
        *self.entry.write().unwrap_or_else(PoisonError::into_inner) = Some(entry);
        value
    }

    fn age(&self, entry: &Entry<T>) -> Duration {
        self.clock.elapsed().saturating_sub(entry.fetched_at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Timestamp;

    const FRESH: Duration = Duration::from_mins(10);
    const PAUSE: Duration = Duration::from_secs(30);

    fn cached() -> (Clock, Cached<usize>) {
        let clock = Clock::manual(Timestamp::from_secs(0));
        (clock.clone(), Cached::new(clock, FRESH, PAUSE))
    }

    fn down() -> std::future::Ready<Result<usize>> {
        std::future::ready(Err("down".into()))
    }

    #[tokio::test]
    async fn parallel_calls_fetch_once() {
        let (_, cached) = cached();
        let fetches = AtomicUsize::new(0);
        let call = || {
            cached.get(async {
                tokio::task::yield_now().await;
                Ok(fetches.fetch_add(1, Ordering::SeqCst))
            })
        };
        let (a, b, c) = tokio::join!(call(), call(), call());
        assert_eq!((*a.expect("a"), *b.expect("b"), *c.expect("c")), (0, 0, 0));
        assert_eq!(fetches.into_inner(), 1);
    }

    #[tokio::test]
    async fn calls_that_waited_through_a_slow_failure_do_not_repeat_it() {
        let (clock, cached) = cached();
        let fetches = AtomicUsize::new(0);
        let call = || {
            cached.get(async {
                tokio::task::yield_now().await;
                fetches.fetch_add(1, Ordering::SeqCst);
                clock.advance(Duration::from_secs(5));
                down().await
            })
        };
        let (a, b, c) = tokio::join!(call(), call(), call());
        assert!(a.is_err() && b.is_err() && c.is_err());
        assert_eq!(fetches.into_inner(), 1);
    }

    #[tokio::test]
    async fn a_value_kept_for_too_long_is_not_served_during_a_fetch_either() {
        let (clock, cached) = cached();
        cached.get(async { Ok(1) }).await.expect("up");
        clock.advance(MAX_AGE);
        let slow = async {
            tokio::task::yield_now().await;
            down().await
        };
        let (a, b) = tokio::join!(cached.get(slow), cached.get(down()));
        assert!(a.is_err() && b.is_err());
    }

    #[tokio::test]
    async fn a_newer_value_is_asked_for_once_in_a_pause() {
        let (clock, cached) = cached();
        let first = cached.get(async { Ok(1) }).await.expect("a value");
        assert_eq!(
            *cached
                .renew(Some(&first), async { Ok(2) })
                .await
                .expect("too soon"),
            1
        );
        clock.advance(PAUSE);
        assert_eq!(
            *cached
                .renew(Some(&first), async { Ok(2) })
                .await
                .expect("newer"),
            2
        );
        assert_eq!(
            *cached
                .renew(Some(&first), async { Ok(3) })
                .await
                .expect("another call's"),
            2
        );
    }

    #[tokio::test]
    async fn the_last_good_value_serves_through_an_outage_of_a_day() {
        let (clock, cached) = cached();
        assert!(cached.get(down()).await.is_err());
        assert!(
            cached.get(async { Ok(1) }).await.is_err(),
            "asked a moment ago"
        );
        clock.advance(PAUSE_IF_EMPTY);
        assert_eq!(*cached.get(async { Ok(1) }).await.expect("up"), 1);
        clock.advance(FRESH);
        assert_eq!(*cached.get(down()).await.expect("the last good one"), 1);
        clock.advance(MAX_AGE);
        assert!(cached.get(down()).await.is_err());
    }

    #[tokio::test]
    async fn what_is_known_and_whether_a_fetch_is_due_is_told_without_one() {
        let (clock, cached) = cached();
        assert!(cached.known().is_none() && cached.is_due());
        assert!(cached.get(down()).await.is_err());
        assert!(!cached.is_due());
        clock.advance(PAUSE_IF_EMPTY);
        assert!(cached.is_due());
        cached.get(async { Ok(1) }).await.expect("up");
        assert!(
            cached
                .known()
                .is_some_and(|(value, fresh)| *value == 1 && fresh)
        );
        assert!(!cached.is_due());
        clock.advance(FRESH);
        assert!(
            cached
                .known()
                .is_some_and(|(value, fresh)| *value == 1 && !fresh)
        );
        assert!(cached.is_due());
        clock.advance(MAX_AGE);
        assert!(cached.known().is_none());
    }
}
