//! Follows the change feed: announces to this process what others committed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::feed::flight::{Flight, Flights};
use crate::metrics;
use crate::model::change::Numbered;
use crate::store::{Head, Store};
use crate::tasks::Tasks;

/// How often the feed is read.
const PERIOD: Duration = Duration::from_millis(250);
/// The feed is current for so long after it was read.
pub(in crate::feed) const CURRENT: Duration = Duration::from_secs(1);
/// How long a call waits for the feed to be read.
const WAIT: Duration = Duration::from_secs(2);
/// How many changes one statement reads.
const BATCH: i64 = 500;
/// How many changes are kept in memory.
const RECENT: usize = 1_000;

/// Follows the feed. Clones share everything.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    metrics: Arc<metrics::Feed>,
    /// Up to where the feed was read and announced.
    position: watch::Sender<Head>,
    /// The last changes, for those who follow the feed through this process.
    recent: Mutex<VecDeque<Numbered>>,
    /// When the last reading that succeeded began, in milliseconds of the monotonic clock.
    read_at: AtomicU64,
    /// Whether the last reading failed, or is taking too long.
    fails: AtomicBool,
    /// How often the store had answered when the last reading began.
    answers: AtomicU64,
    readings: Flights<Result<()>>,
}

impl Feed {
    /// The name of the background task that follows the feed.
    pub const TASK: &str = "change_feed";

    /// Follows the feed from its end on. What is read from the store from now on may be remembered.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn start(store: Store, clock: Clock, metrics: Arc<metrics::Feed>) -> Result<Self> {
        let began = clock.elapsed();
        let head = store.feed_head().await?;
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            metrics,
            position: watch::Sender::new(head),
            recent: Mutex::default(),
            read_at: AtomicU64::new(millis(began)),
            fails: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            readings: Flights::default(),
        })))
    }

    /// Reads the feed again and again. It never returns.
    pub async fn run(self, tasks: Tasks) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failures = 0_u64;
        loop {
            ticks.tick().await;
            match self.read().await {
                Ok(()) if failures > 0 => {
                    tracing::info!(failures, "the change feed can be read again");
                    failures = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    if failures == 0 {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, "the change feed cannot be read");
                    }
                    failures += 1;
                    continue;
                }
            }
            tasks.note_success(Self::TASK);
        }
    }

    /// Up to where the feed was read, and how that changes.
    pub fn position(&self) -> watch::Receiver<Head> {
        self.0.position.subscribe()
    }

    /// The changes that follow the one with this number, up to the last that was read: from memory or,
    /// if those in memory do not reach back so far, at most [`BATCH`] from the store. The first one is
    /// another than the next if the next was deleted.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn after(&self, number: i64) -> Result<Vec<Numbered>> {
        let remembered = self.0.remembered(number);
        if !remembered.is_empty() {
            return Ok(remembered);
        }
        let end = self.0.position.borrow().number;
        let mut changes = self.0.store.list_changes(number, BATCH).await?;
        changes.retain(|change| change.number <= end);
        Ok(changes)
    }

    /// Reads the feed once, from after this call on.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn refresh(&self) -> Result<()> {
        // The reading that is under way has begun before.
        self.read().await?;
        self.read().await
    }

    /// Whether everything is known that was committed up to [`CURRENT`] ago.
    pub fn is_current(&self) -> bool {
        self.age() <= CURRENT
    }

    /// Whether the last reading failed, or is taking too long.
    fn fails(&self) -> bool {
        self.0.fails.load(Ordering::SeqCst)
    }

    /// Whether the last reading failed and the store has answered nobody since it began.
    pub fn is_silent(&self) -> bool {
        self.fails() && self.0.store.answers() == self.0.answers.load(Ordering::SeqCst)
    }

    /// How long ago the last reading began that succeeded. All that was committed before it is known.
    pub fn age(&self) -> Duration {
        self.0.clock.elapsed().saturating_sub(self.read_at())
    }

    fn read_at(&self) -> Duration {
        Duration::from_millis(self.0.read_at.load(Ordering::SeqCst))
    }

    /// Waits until all is known that was committed up to [`CURRENT`] before this call; `false` if the
    /// feed cannot be read in time. If it could not the last time, only the background task tries it
    /// again, and nobody waits.
    pub async fn catch_up(&self) -> bool {
        if self.is_current() {
            return true;
        }
        if self.fails() {
            return false;
        }
        let now = self.0.clock.elapsed();
        let read = async {
            self.read().await?;
            // That reading may have begun long before this call.
            if self.read_at() + CURRENT < now {
                self.read().await?;
            }
            Ok::<_, Error>(())
        };
        let read = timeout(WAIT, read).await;
        if read.is_err() {
            self.0.fails.store(true, Ordering::SeqCst);
        }
        matches!(read, Ok(Ok(())))
    }

    /// The reading that is under way, or else a new one.
    fn read(&self) -> Flight<Result<()>> {
        let inner = Arc::clone(&self.0);
        self.0.readings.board(|| async move { inner.read().await })
    }
}

impl Inner {
    async fn read(&self) -> Result<()> {
        let began = self.clock.elapsed();
        self.answers.store(self.store.answers(), Ordering::SeqCst);
        let read = self.follow().await;
        self.fails.store(read.is_err(), Ordering::SeqCst);
        if read.is_ok() {
            self.read_at.fetch_max(millis(began), Ordering::SeqCst);
        } else {
            self.metrics.failures.inc();
        }
        read
    }

    /// Announces all changes that were committed before this call.
    async fn follow(&self) -> Result<()> {
        let known = self.position.borrow().clone();
        // Before the feed is read, because this process may commit meanwhile.
        let committed = self.store.announcements().last_own();
        let head = self.store.feed_head().await?;
        if head.epoch != known.epoch {
            self.begin_anew(head, "the store has a new epoch");
            return Ok(());
        }
        if head.number < known.number.max(committed) {
            // Other processes may not have seen it.
            self.store.replace_epoch(&head.epoch).await?;
            let head = self.store.feed_head().await?;
            self.begin_anew(head, "the store was set back to an earlier state");
            return Ok(());
        }
        let mut number = known.number;
        while number < head.number {
            let changes = self.store.list_changes(number, BATCH).await?;
            let Some(last) = self.announce(number, &changes) else {
                self.begin_anew(head, "changes were deleted before they were read");
                return Ok(());
            };
            number = last;
        }
        Ok(())
    }

    /// Announces changes that follow the one with the number `after`, and returns the number of the
    /// last; `None` if there is a gap.
    fn announce(&self, after: i64, changes: &[Numbered]) -> Option<i64> {
        let mut expected = (after + 1..).zip(changes);
        let has_gap = expected.any(|(number, change)| number != change.number);
        let last = changes.last()?.number;
        if has_gap {
            return None;
        }
        self.metrics.changes.inc_by(changes.len() as u64);
        self.store.announcements().publish_followed(changes);
        self.remember(changes);
        self.position.send_modify(|position| position.number = last);
        Some(last)
    }

    /// Drops everything that is remembered, and follows the feed from `head` on.
    fn begin_anew(&self, head: Head, reason: &'static str) {
        tracing::warn!(reason, "all that was remembered of sessions is dropped");
        self.metrics.resets.inc();
        self.store.announcements().publish_everything();
        self.recent().clear();
        self.position.send_replace(head);
    }

    fn remember(&self, changes: &[Numbered]) {
        let mut recent = self.recent();
        recent.extend(changes.iter().cloned());
        let surplus = recent.len().saturating_sub(RECENT);
        recent.drain(..surplus);
    }

    /// The changes in memory after this number; none if the next one is not in memory.
    fn remembered(&self, number: i64) -> Vec<Numbered> {
        let recent = self.recent();
        let next = recent.partition_point(|change| change.number <= number);
        let follows = |first: &Numbered| first.number == number + 1;
        if recent.get(next).is_some_and(follows) {
            recent.range(next..).cloned().collect()
        } else {
            Vec::new()
        }
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Numbered>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
