//! Time: the whole service shares one clock. A call reads it once and passes `now` on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

    /// This moment without its milliseconds, as a JWT has it.
    #[must_use]
    pub const fn whole_secs(self) -> Self {
        Self::from_secs(self.secs())
    }

    /// The first whole second after this moment.
    #[must_use]
    pub const fn next_sec(self) -> Self {
        Self::from_secs(self.secs().saturating_add(1))
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

/// RFC 3339, in whole seconds of UTC. A time beyond the year 9999, which has no such form, is shown as
/// seconds since the epoch.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = OffsetDateTime::from_unix_timestamp(self.secs()).ok();
        match date.and_then(|date| date.format(&Rfc3339).ok()) {
            Some(shown) => f.write_str(&shown),
            None => write!(f, "{}", self.secs()),
        }
    }
}

/// The service's only source of time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    source: Source,
    /// The largest difference between the time of day and the elapsed time that was ever read, in
    /// microseconds.
    offset: AtomicI64,
}

#[derive(Debug)]
enum Source {
    System(Instant),
    Manual(ManualTime),
}

/// The state of a clock that tests set, in microseconds.
#[derive(Debug)]
struct ManualTime {
    wall: AtomicI64,
    elapsed: AtomicI64,
}

impl Clock {
    fn new(source: Source) -> Self {
        Self(Arc::new(Shared {
            source,
            offset: AtomicI64::new(i64::MIN),
        }))
    }

    /// The operating system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(Source::System(Instant::now()))
    }

    /// A clock for tests: it shows `start` until [`Clock::advance`] or [`Clock::set`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::new(Source::Manual(ManualTime {
            wall: AtomicI64::new(start.millis().saturating_mul(1000)),
            elapsed: AtomicI64::new(0),
        }))
    }

    /// The time of day. It never goes back while the process runs, so nothing that has expired
    /// becomes valid again, and it never stands still: if the system's clock is set back, time goes
    /// on by the monotonic clock until the system's clock has caught up. It may jump forward.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // The time of day is read first. If this thread is held up between the two readings, their
        // difference is too small, which does no harm; in the other order it would be too large, and
        // would stay so.
        let wall = self.wall();
        let elapsed = micros(self.elapsed());
        let offset = wall.saturating_sub(elapsed);
        let offsets = &self.0.offset;
        let mut largest = offsets.load(Ordering::SeqCst);
        // It is written only if it grows: all calls read it, and cores that write it in turn wait for
        // each other.
        if offset > largest {
            largest = offsets.fetch_max(offset, Ordering::SeqCst).max(offset);
        }
        Timestamp(elapsed.saturating_add(largest).div_euclid(1000))
    }

    /// The time since the clock was made, by the monotonic clock: setting the time of day does not
    /// change it. Ages are measured with it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.0.source {
            Source::System(start) => start.elapsed(),
            Source::Manual(time) => {
                let elapsed = time.elapsed.load(Ordering::SeqCst);
                Duration::from_micros(u64::try_from(elapsed).unwrap_or(0))
            }
        }
    }

    /// What the system's clock shows, in microseconds since the Unix epoch.
    fn wall(&self) -> i64 {
        match &self.0.source {
            Source::System(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, micros),
            Source::Manual(time) => time.wall.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock forward; does nothing to a system clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &self.0.source {
            time.elapsed.fetch_add(micros(by), Ordering::SeqCst);
            time.wall.fetch_add(micros(by), Ordering::SeqCst);
        }
    }

    /// Sets a manual clock's time of day, as an administrator might set the system's. Elapsed time
    /// does not change, and [`Clock::now`] still never goes back. Does nothing to a system clock.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(time) = &self.0.source {
            time.wall
                .store(to.millis().saturating_mul(1000), Ordering::SeqCst);
        }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_as_date_and_time_of_utc() {
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_800, "253402300800"),
        ] {
            assert_eq!(Timestamp::from_secs(seconds).to_string(), shown);
        }
    }

    #[test]
    fn a_clock_set_back_goes_on_and_rejoins_the_time_of_day() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let start = clock.now();
        clock.set(Timestamp::from_secs(400));
        assert_eq!(clock.clone().now(), start);
        clock.advance(Duration::from_mins(5));
        assert_eq!(clock.now(), Timestamp::from_secs(1300));
        assert_eq!(clock.elapsed(), Duration::from_mins(5));
        // The system's clock is still behind, and then is set right.
        clock.set(Timestamp::from_secs(1299));
        assert_eq!(clock.now(), Timestamp::from_secs(1300));
        clock.set(Timestamp::from_secs(1301));
        assert_eq!(clock.now(), Timestamp::from_secs(1301));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::from_secs(1302));
    }

    #[test]
    fn no_thread_reads_an_earlier_time_than_one_that_was_read_before() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let highest = AtomicI64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let before = highest.load(Ordering::SeqCst);
                        let now = clock.now().millis();
                        assert!(now >= before, "{now} after {before}");
                        highest.fetch_max(now, Ordering::SeqCst);
                    }
                });
            }
            for step in 0..2000 {
                clock.advance(Duration::from_millis(1));
                clock.set(Timestamp::from_millis(1_000_000 + step % 7 * 100));
            }
        });
    }
}
