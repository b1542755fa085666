//! How many calls a caller may make.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::metrics::CallerLimit;

/// When a caller with too many open calls may try again.
const RETRY: Duration = Duration::from_secs(1);

/// What a caller may do at most; nothing is limited unless it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many calls it may begin.
    pub rate: Option<Rate>,
    /// How many of its calls may be open at the same time, at least 1.
    pub concurrent: Option<u32>,
}

/// A rate of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second, from 1 to [`Rate::MAX`].
    pub per_second: u32,
    /// How many of them may come at once, at least 1.
    pub burst: u32,
}

impl Rate {
    /// The highest rate, and the largest burst.
    pub const MAX: u32 = 1_000_000;

    /// The time from one call to the next, in nanoseconds.
    fn interval(self) -> u64 {
        1_000_000_000 / u64::from(self.per_second)
    }
}

/// A call beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) limit: CallerLimit,
    /// When a further call may be let in.
    pub(super) retry_after: Duration,
}

/// What a caller uses of its limits in this process.
#[derive(Debug, Default)]
pub(super) struct Usage {
    open: AtomicU32,
    /// When all calls so far would have begun if they had come at the rate, in nanoseconds
    /// ("theoretical arrival time" of the generic cell rate algorithm, ITU-T I.371).
    due: AtomicU64,
}

/// An open call of a caller whose open calls are limited; it ends when this is dropped.
#[derive(Debug)]
pub struct CallPlace(Arc<Usage>);

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limits {
    /// Lets a call in. A call that is refused does not count.
    pub(super) fn begin(
        self,
        usage: &Arc<Usage>,
        clock: &Clock,
    ) -> Result<Option<CallPlace>, Exceeded> {
        let most = self.concurrent;
        let place = most.map(|most| Usage::open(usage, most)).transpose()?;
        if let Some(rate) = self.rate {
            usage.count(rate, clock.elapsed())?;
        }
        Ok(place)
    }
}

impl Usage {
    fn open(this: &Arc<Self>, most: u32) -> Result<CallPlace, Exceeded> {
        let another = |open| (open < most).then_some(open + 1);
        let counted = this
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, another);
        counted
            .map(|_| CallPlace(Arc::clone(this)))
            .map_err(|_| Exceeded {
                limit: CallerLimit::Concurrent,
                retry_after: RETRY,
            })
    }

    fn count(&self, rate: Rate, now: Duration) -> Result<(), Exceeded> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let ahead = rate.interval() * u64::from(rate.burst);
        // A higher rate than before must not wait for calls that were let in at the lower one.
        let used = |due: u64| due.clamp(now, now.saturating_add(ahead));
        let next = |due: u64| used(due).saturating_add(rate.interval());
        let in_time = |due| Some(next(due)).filter(|next| *next - now <= ahead);
        let counted = self
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, in_time);
        counted.map(drop).map_err(|due| Exceeded {
            limit: CallerLimit::PerSecond,
            retry_after: Duration::from_nanos(next(due) - now - ahead),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn clock() -> Clock {
        Clock::manual(Timestamp::from_secs(1_800_000_000))
    }

    fn rate(per_second: u32, burst: u32) -> Limits {
        Limits {
            rate: Some(Rate { per_second, burst }),
            concurrent: None,
        }
    }

    /// How many calls are let in at once.
    fn let_in(limits: Limits, usage: &Arc<Usage>, clock: &Clock) -> usize {
        let calls = (0..1000).take_while(|_| limits.begin(usage, clock).is_ok());
        calls.count()
    }

    #[test]
    fn a_burst_is_let_in_at_once_and_then_calls_at_the_rate() {
        let (limits, usage, clock) = (rate(4, 10), Arc::default(), clock());
        assert_eq!(let_in(limits, &usage, &clock), 10);
        clock.advance(Duration::from_millis(249));
        let exceeded = limits.begin(&usage, &clock).expect_err("too early");
        assert_eq!(exceeded.limit, CallerLimit::PerSecond);
        assert_eq!(exceeded.retry_after, Duration::from_millis(1));
        clock.advance(exceeded.retry_after);
        assert_eq!(let_in(limits, &usage, &clock), 1);
        clock.advance(Duration::from_secs(1));
        assert_eq!(let_in(limits, &usage, &clock), 4);
        clock.advance(Duration::from_hours(1));
        assert_eq!(let_in(limits, &usage, &clock), 10);
    }

    #[test]
    fn a_new_rate_goes_on_from_what_was_used() {
        let (usage, clock) = (Arc::default(), clock());
        assert_eq!(let_in(rate(1, 5), &usage, &clock), 5);
        assert_eq!(let_in(rate(1, 7), &usage, &clock), 2);
        assert_eq!(let_in(rate(Rate::MAX, 1), &usage, &clock), 0);
        clock.advance(Duration::from_secs(8));
        assert_eq!(let_in(rate(Rate::MAX, Rate::MAX), &usage, &clock), 1000);
    }

    #[test]
    fn open_calls_are_limited_until_they_end_and_a_refused_one_does_not_count() {
        let (usage, clock) = (Arc::default(), clock());
        let limits = Limits {
            concurrent: Some(2),
            ..rate(1, 2)
        };
        let begin = || limits.begin(&usage, &clock);
        let (first, second) = (begin().expect("let in"), begin().expect("let in"));
        let refused = begin().expect_err("both are open");
        assert_eq!(
            (refused.limit, refused.retry_after),
            (CallerLimit::Concurrent, RETRY)
        );
        drop(first);
        let refused = begin().expect_err("two in this second");
        assert_eq!(refused.limit, CallerLimit::PerSecond);
        clock.advance(Duration::from_secs(1));
        let _third = begin().expect("let in");
        assert!(begin().is_err());
        drop(second);
        assert_eq!(usage.open.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let (usage, clock) = (Arc::default(), clock());
        assert_eq!(let_in(Limits::default(), &usage, &clock), 1000);
        assert_eq!(usage.due.load(Ordering::Relaxed), 0);
    }
}
