//! What a provider publishes, fetched by one call at a time and kept through an outage.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How soon after a failure the first fetch may be tried again.
const RETRY_EMPTY: Duration = Duration::from_secs(3);
/// How long the last good value serves while no newer one can be had.
const KEPT: Duration = Duration::from_hours(24);

pub(super) struct Cached<T> {
    clock: Clock,
    fresh: Duration,
    pause: Duration,
    held: RwLock<Option<Held<T>>>,
    last_attempt: tokio::sync::Mutex<Option<Duration>>,
}

struct Held<T> {
    value: Arc<T>,
    since: Duration,
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            since: self.since,
        }
    }
}

impl<T> Cached<T> {
    /// A value good for `fresh`, fetched again at most once in `pause`.
    pub(super) fn new(clock: Clock, fresh: Duration, pause: Duration) -> Self {
        Self {
            clock,
            fresh,
            pause,
            held: RwLock::default(),
            last_attempt: tokio::sync::Mutex::default(),
        }
    }

    /// The value, fetched where there is none or it is no longer fresh.
    pub(super) async fn get(&self, fetch: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        let held = self.held();
        match &held {
            Some(held) if self.age(held) < self.fresh => Ok(Arc::clone(&held.value)),
            // Another call is renewing it just now.
            Some(held) if self.age(held) < KEPT && self.last_attempt.try_lock().is_err() => {
                Ok(Arc::clone(&held.value))
            }
            _ => {
                self.renew(held.as_ref().map(|held| &held.value), fetch)
                    .await
            }
        }
    }

    /// A newer value than the one `seen`, where the provider may be asked again; otherwise the one there is.
    pub(super) async fn renew(
        &self,
        seen: Option<&Arc<T>>,
        fetch: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let mut last_attempt = self.last_attempt.lock().await;
        let held = self.held();
        if let Some(held) = &held
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &held.value))
        {
            return Ok(Arc::clone(&held.value));
        }
        let now = self.clock.elapsed();
        let pause = if held.is_some() {
            self.pause
        } else {
            RETRY_EMPTY
        };
        if last_attempt.is_some_and(|at| now.saturating_sub(at) < pause) {
            return self.last_good(
                held,
                Error::ProviderUnavailable("it was asked a moment ago, in vain".into()),
            );
        }
        // Before the fetch too, for a call that is dropped during it.
        *last_attempt = Some(now);
        let fetched = fetch.await;
        // The pause begins when it has failed: who waited meanwhile must not wait through one of their own.
        *last_attempt = Some(self.clock.elapsed());
        match fetched {
            Ok(value) => Ok(self.hold(value)),
            Err(error) => self.last_good(held, error),
        }
    }

    fn last_good(&self, held: Option<Held<T>>, error: Error) -> Result<Arc<T>> {
        held.filter(|held| self.age(held) < KEPT)
            .map(|held| held.value)
            .ok_or(error)
    }

    fn held(&self) -> Option<Held<T>> {
        self.held
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn hold(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let held = Held {
            value: Arc::clone(&value),
            since: self.clock.elapsed(),
        };
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(held);
        value
    }

    fn age(&self, held: &Held<T>) -> Duration {
        self.clock.elapsed().saturating_sub(held.since)
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
        std::future::ready(Err(Error::ProviderUnavailable("down".into())))
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
        clock.advance(KEPT);
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
        clock.advance(RETRY_EMPTY);
        assert_eq!(*cached.get(async { Ok(1) }).await.expect("up"), 1);
        clock.advance(FRESH);
        assert_eq!(*cached.get(down()).await.expect("the last good one"), 1);
        clock.advance(KEPT);
        assert!(cached.get(down()).await.is_err());
    }
}
