//! When sessions are used, noted in memory and written now and then: a use must not cost a write.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::SessionId;
use crate::metrics::{self, LastSeen as Outcome};
use crate::model::session::LiveAt;
use crate::store::{LAST_SEEN_BATCH, Store};
use crate::tasks::Tasks;

/// The name of the task that writes uses.
pub(super) const TASK: &str = "last_seen";
/// How often uses are written at least, and so how many of them a crash can lose.
const LONGEST_INTERVAL: Duration = Duration::from_mins(1);
/// Of the time that a session may be idle, the interval is a tenth, if that is less.
const PARTS: u32 = 10;
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Uses that follow each other within this time are one.
const STEP: Duration = Duration::from_secs(1);
/// The pause between two writings, if sessions are used shortly before they become idle.
const PAUSE: Duration = Duration::from_millis(250);
/// How many sessions wait to be written at most.
const MOST: usize = 50_000;
/// A use is written within this time, so a session that is not written as used for longer than it may
/// be idle and this is idle.
const WRITTEN: Duration = Duration::from_mins(5);

/// When a session was last used in this process.
#[derive(Debug, Default)]
pub struct Seen {
    /// In milliseconds since the Unix epoch; zero if it was not.
    last: AtomicI64,
    is_queued: AtomicBool,
}

/// The sessions whose last use is to be written.
#[derive(Debug)]
pub(super) struct LastSeen {
    store: Store,
    idle: Option<Duration>,
    interval: Duration,
    queue: Mutex<VecDeque<Use>>,
    /// Some of them are written at once.
    urgent: Notify,
    metrics: Arc<metrics::Sessions>,
}

type Use = (SessionId, Arc<Seen>);

/// Uses that are being written. What is dropped before they are waits again.
struct Writing<'a> {
    last_seen: &'a LastSeen,
    uses: Vec<Use>,
}

impl Seen {
    /// When the session was last used in this process.
    pub(super) fn last(&self) -> Timestamp {
        Timestamp::from_millis(self.last.load(Ordering::Relaxed))
    }
}

impl LastSeen {
    pub(super) fn new(
        store: Store,
        idle: Option<Duration>,
        metrics: Arc<metrics::Sessions>,
    ) -> Self {
        let part = idle.map_or(LONGEST_INTERVAL, |idle| idle / PARTS);
        Self {
            store,
            idle,
            interval: part.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            queue: Mutex::default(),
            urgent: Notify::new(),
            metrics,
        }
    }

    /// Which sessions are live at `now`.
    pub(super) fn live_at(&self, now: Timestamp) -> LiveAt {
        LiveAt::new(now, self.idle)
    }

    /// Notes that a session is used now; `known` is its last use that its state tells. A use that
    /// comes within a second after another one costs reading a variable.
    pub(super) fn note(
        &self,
        session: &SessionId,
        seen: &Arc<Seen>,
        known: Timestamp,
        now: Timestamp,
    ) {
        let last = seen.last().max(known);
        if now < last.plus(STEP) {
            return;
        }
        seen.last.fetch_max(now.millis(), Ordering::Relaxed);
        if !seen.is_queued.swap(true, Ordering::AcqRel) {
            self.enqueue((session.clone(), Arc::clone(seen)));
        }
        // Other processes know of the use only once it is written, and would take the session for
        // idle soon.
        let soon = now.plus(2 * self.interval);
        if self.idle.is_some_and(|idle| soon >= last.plus(idle)) {
            self.urgent.notify_one();
        }
    }

    fn enqueue(&self, used: Use) {
        let mut queue = self.queue();
        if queue.len() < MOST {
            queue.push_back(used);
        } else {
            used.1.is_queued.store(false, Ordering::Release);
            self.metrics.last_seen.of(Outcome::Dropped).inc();
        }
    }

    /// Writes now and then when sessions were used.
    pub(super) async fn keep_writing(&self, tasks: &Tasks) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.urgent.notified() => {}
            }
            match self.write().await {
                Ok(()) => {
                    tasks.note_success(TASK);
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "it could not be written when sessions were used; it is tried again"
                    );
                    ticks.reset();
                    ticks.tick().await;
                }
            }
        }
    }

    /// Lets sessions expire that have been idle for so long that no process can have used them
    /// meanwhile without having written it.
    pub(super) async fn expire_idle(&self, now: Timestamp) -> Result<()> {
        let Some(idle) = self.idle else {
            return Ok(());
        };
        let at = LiveAt::new(now, Some(idle.saturating_add(WRITTEN)));
        let expired = self.store.expire_idle_sessions(at, idle).await?;
        if expired > 0 {
            tracing::info!(
                sessions = expired,
                "sessions have ended because they were idle"
            );
        }
        Ok(())
    }

    /// Writes all uses that wait.
    pub(super) async fn write(&self) -> Result<()> {
        loop {
            let mut writing = self.take();
            let uses: Vec<_> = writing.uses.iter().map(last_use).collect();
            if uses.is_empty() {
                return Ok(());
            }
            let count = u64::try_from(uses.len()).unwrap_or(u64::MAX);
            let written = self.store.write_last_seen(&uses).await;
            let outcome = if written.is_ok() {
                writing.uses.clear();
                Outcome::Written
            } else {
                Outcome::Failed
            };
            self.metrics.last_seen.of(outcome).inc_by(count);
            written?;
        }
    }

    /// The next uses to be written, in the order of their sessions, so that two processes that write
    /// the same ones do not wait for each other.
    fn take(&self) -> Writing<'_> {
        let mut queue = self.queue();
        let count = queue.len().min(LAST_SEEN_BATCH);
        let mut uses: Vec<_> = queue.drain(..count).collect();
        drop(queue);
        uses.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (_, seen) in &uses {
            // Before its time is read, so that whoever uses it after that queues it again.
            seen.is_queued.store(false, Ordering::Release);
        }
        let last_seen = self;
        Writing { last_seen, uses }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Use>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_use((session, seen): &Use) -> (SessionId, Timestamp) {
    (session.clone(), seen.last())
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        for used in self.uses.drain(..) {
            if !used.1.is_queued.swap(true, Ordering::AcqRel) {
                self.last_seen.enqueue(used);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserId;
    use crate::model::account::{LOCAL, User};
    use crate::model::session::{NotLive, Session, SessionState};
    use crate::store::testing::{new_session, profile};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const IDLE: Duration = Duration::from_mins(30);

    #[test]
    fn a_session_is_over_once_its_last_use_is_longer_ago_than_it_may_be_idle() {
        let user = User::new(UserId::new(NOW), LOCAL.to_owned(), profile(), NOW);
        let state = |seen: u64, refreshed: u64| SessionState {
            session: Session {
                last_seen_time: NOW.plus(Duration::from_secs(seen)),
                refresh_time: NOW.plus(Duration::from_secs(refreshed)),
                ..new_session(&user.id, LOCAL, NOW)
            },
            user: user.clone(),
            ban: None,
        };
        let never = Timestamp::from_millis(0);
        let last = Duration::from_secs(7);
        let end = NOW.plus(last).plus(IDLE);
        let later = end.plus(Duration::from_millis(1));
        for (state, seen) in [
            (state(7, 0), never),
            (state(0, 7), never),
            (state(0, 0), NOW.plus(last)),
        ] {
            let check = |now, idle| state.check_live(LiveAt::new(now, idle), seen);
            assert_eq!(check(end, Some(IDLE)), Ok(()));
            assert_eq!(check(later, Some(IDLE)), Err(NotLive::Expired));
            assert_eq!(check(later, None), Ok(()));
            // A clock that is behind.
            let before = NOW.minus(IDLE);
            assert_eq!(check(before, Some(IDLE)), Ok(()));
        }
    }
}
