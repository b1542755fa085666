//! Time: the whole service shares one clock. A call reads it once and passes `now` on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch, the unit of a JWT's NumericDate (RFC 7519 section 2).
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment `duration` after this one.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The moment `duration` before this one.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// How long until `later`; zero if `later` is in the past.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// The service's only source of time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        start: Instant,
        highest: Arc<AtomicI64>,
    },
    Manual(Arc<ManualTime>),
}

/// The state of a clock that tests set, in milliseconds.
#[derive(Debug)]
struct ManualTime {
    wall: AtomicI64,
    highest: AtomicI64,
    elapsed: AtomicI64,
}

impl Clock {
    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System {
            start: Instant::now(),
            highest: Arc::new(AtomicI64::new(0)),
        })
    }

    /// A clock for tests: it shows `start` until [`Clock::advance`] or [`Clock::set`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        let time = ManualTime {
            wall: AtomicI64::new(start.millis()),
            highest: AtomicI64::new(i64::MIN),
            elapsed: AtomicI64::new(0),
        };
        Self(Source::Manual(Arc::new(time)))
    }

    /// The time of day. If the system's clock is set back, this returns the latest time that was
    /// read until the system's clock passes it: nothing that has expired becomes valid again while
    /// the process runs. The time may jump forward.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (wall, highest) = match &self.0 {
            Source::System { highest, .. } => (
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, millis),
                &**highest,
            ),
            Source::Manual(time) => (time.wall.load(Ordering::SeqCst), &time.highest),
        };
        // One atomic step, so that a thread never sees an earlier time than another has already
        // read.
        Timestamp(highest.fetch_max(wall, Ordering::SeqCst).max(wall))
    }

    /// The time since the clock was made. It never goes back, so it is what ages are measured with.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { start, .. } => start.elapsed(),
            Source::Manual(time) => Duration::from_millis(
                u64::try_from(time.elapsed.load(Ordering::SeqCst)).unwrap_or(0),
            ),
        }
    }

    /// Moves a manual clock forward; does nothing to a system clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &self.0 {
            time.wall.fetch_add(millis(by), Ordering::SeqCst);
            time.elapsed.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock's time of day, as an administrator might set the system's. Elapsed time
    /// does not change, and [`Clock::now`] still never goes back. Does nothing to a system clock.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(time) = &self.0 {
            time.wall.store(to.millis(), Ordering::SeqCst);
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_stands_until_its_time_comes_again() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let start = clock.now();
        clock.set(Timestamp::from_secs(400));
        assert_eq!(clock.clone().now(), start);
        clock.advance(Duration::from_mins(10));
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::from_secs(1001));
    }
}
