//! Spans that could not be sent: counted, and logged at most once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// The shortest time between two lines.
const PAUSE: Duration = Duration::from_mins(1);

/// The spans that were lost since the start.
#[derive(Debug)]
pub(super) struct Losses {
    clock: Clock,
    lost: Arc<AtomicU64>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    lost: u64,
    at: Option<Duration>,
}

impl Losses {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            lost: Arc::default(),
            told: Mutex::default(),
        }
    }

    /// How many there are, which goes on to grow.
    pub(super) fn count(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Counts lost spans.
    pub(super) fn add(&self, count: usize) {
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Logs the losses that were not logged yet, unless some were logged within the last minute.
    pub(super) fn tell(&self, reason: &str) {
        let now = self.clock.elapsed();
        self.tell_if(reason, |told| {
            told.at.is_none_or(|at| now.saturating_sub(at) >= PAUSE)
        });
    }

    /// Counts the spans that are left when the service stops, and logs the losses that were not
    /// logged yet.
    pub(super) fn finish(&self, left: usize) {
        self.add(left);
        self.tell_if("the service stops", |_| true);
    }

    fn tell_if(&self, reason: &str, is_due: impl FnOnce(&Told) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > told.lost && is_due(&told) {
            *told = Told {
                lost,
                at: Some(self.clock.elapsed()),
            };
            drop(told);
            tracing::warn!(lost, reason, "spans could not be sent since the start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn lines(log: &tempfile::NamedTempFile) -> Vec<String> {
        let text = std::fs::read_to_string(log.path()).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn losses_are_told_once_a_minute_and_at_the_end_with_their_number() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let losses = Losses::new(clock.clone());
        let log = tempfile::NamedTempFile::new().expect("a file");
        let writer = Arc::new(log.reopen().expect("opened"));
        let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            losses.finish(0);
            assert!(lines(&log).is_empty());
            losses.add(2);
            assert!(lines(&log).is_empty(), "it is only counted");
            losses.tell("a reason");
            losses.add(4);
            losses.tell("a reason");
            assert_eq!(lines(&log).len(), 1);
            clock.advance(PAUSE);
            losses.add(1);
            losses.tell("another reason");
            losses.add(1);
            losses.tell("another reason");
            losses.finish(3);
            losses.finish(0);
        });
        let lines = lines(&log);
        assert_eq!(lines.len(), 3, "{lines:?}");
        for (line, part) in lines.iter().zip(["lost=2 ", "lost=7 ", "lost=11 "]) {
            assert!(line.contains(part), "{line}");
        }
    }
}
