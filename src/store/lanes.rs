//! Store work that strangers can cause in any amount takes turns, so that the work of users who are
//! signed in does not wait behind it.
//!
//! A function of the store takes its turn first. Sign-ins and reports have a queue each. What
//! verifies, refreshes and resolves takes no turn, and finds the writer of SQLite or a connection to
//! PostgreSQL almost free.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::backend::Pools;
use super::error::StoreError;
use crate::metrics::{self, GaugeGuard, Lane};

/// How many of a queue are at work at once. On SQLite there is one writer: while one of them writes,
/// another can prepare.
const SQLITE_TURNS: usize = 2;
/// Out of 20 connections.
const POSTGRES_TURNS: usize = 6;
/// How many may wait for a turn; further ones are refused at once.
const QUEUE: usize = 128;
/// How long one waits for a turn.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The queues of one store.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    sign_ins: Queue,
    reports: Queue,
}

#[derive(Clone, Debug)]
struct Queue {
    lane: Lane,
    metrics: Arc<metrics::Store>,
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// A turn; the next one begins when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _running: GaugeGuard,
    _permit: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new(pools: &Pools, metrics: &Arc<metrics::Store>) -> Self {
        let turns = if pools.write.connector().is_file() {
            SQLITE_TURNS
        } else {
            POSTGRES_TURNS
        };
        let queue = |lane| Queue::new(lane, turns, Arc::clone(metrics));
        Self {
            sign_ins: queue(Lane::SignIns),
            reports: queue(Lane::Reports),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if too many wait, or the wait is too long.
    pub(super) async fn turn(&self, lane: Lane) -> Result<Turn, StoreError> {
        let queue = match lane {
            Lane::SignIns => &self.sign_ins,
            Lane::Reports => &self.reports,
        };
        queue.turn().await.ok_or_else(|| {
            queue.metrics.turned_away.of(lane).inc();
            StoreError::Overloaded
        })
    }
}

impl Queue {
    fn new(lane: Lane, turns: usize, metrics: Arc<metrics::Store>) -> Self {
        Self {
            lane,
            metrics,
            places: Arc::new(Semaphore::new(QUEUE + turns)),
            turns: Arc::new(Semaphore::new(turns)),
        }
    }

    /// `None` if too many wait, or the wait is too long.
    async fn turn(&self) -> Option<Turn> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let counted = |state| GaugeGuard::new(self.metrics.turns.of((self.lane, state)));
        let waiting = counted(metrics::Turn::Waiting);
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(MAX_WAIT, turn).await.ok()?.ok()?;
        drop(waiting);
        Some(Turn {
            _running: counted(metrics::Turn::Running),
            _permit: turn,
            _place: place,
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::metrics::Metrics;
    use crate::model::session::{Device, Refresh, Refreshed};
    use crate::model::violation::{NewViolation, Penalty};
    use crate::store::Store;
    use crate::store::testing::{on_each_engine, signed_in};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[tokio::test]
    async fn a_queue_lets_few_in_and_refuses_those_beyond_its_places() {
        let metrics = Metrics::new(&Clock::system()).store;
        let queue = Queue::new(Lane::Reports, 2, Arc::clone(&metrics));
        let first = queue.turn().await.expect("a turn");
        let _second = queue.turn().await.expect("a turn");
        let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(queue.turn())).collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none(), "waits");
        }
        let count = |state| metrics.turns.of((Lane::Reports, state)).get();
        assert_eq!(count(metrics::Turn::Running), 2);
        assert_eq!(usize::try_from(count(metrics::Turn::Waiting)), Ok(QUEUE));
        assert!(queue.turn().now_or_never().expect("at once").is_none());
        drop(first);
        assert!(waiting.swap_remove(0).await.is_some());
        drop(waiting);
        assert_eq!(count(metrics::Turn::Waiting), 0);
    }

    async fn try_sign_in(store: &Store) -> Result<(), StoreError> {
        let window = Duration::from_mins(5);
        let counted = store.count_attempt("login", "192.0.2.1", window, NOW);
        counted.await.map(drop)
    }

    async fn report(store: &Store) -> Result<(), StoreError> {
        let violation = NewViolation {
            caller: "chat",
            request_id: None,
            kind: "message_limit",
            user: None,
            address: None,
            added: 1,
            score_given: true,
            create_time: NOW,
            score_expire_time: None,
        };
        let recorded = store.record_violation(&violation, |_, _| Penalty::Nothing);
        recorded.await.map(drop)
    }

    #[tokio::test]
    async fn sign_ins_and_reports_do_not_keep_each_other_or_sessions_from_the_store() {
        on_each_engine(async |store| {
            let (_, session) = signed_in(&store, NOW).await;
            for lane in [Lane::SignIns, Lane::Reports] {
                // All turns, and all places to wait for one.
                let mut all = Vec::new();
                let mut is_full = false;
                while !is_full {
                    let mut turn = Box::pin(store.lanes.turn(lane));
                    let taken = (&mut turn).now_or_never();
                    is_full = matches!(taken, Some(Err(StoreError::Overloaded)));
                    all.push((turn, taken));
                }
                let (signed_in, reported) = (try_sign_in(&store).await, report(&store).await);
                let (refused, other) = match lane {
                    Lane::SignIns => (signed_in, reported),
                    Lane::Reports => (reported, signed_in),
                };
                assert!(matches!(refused, Err(StoreError::Overloaded)), "{lane:?}");
                let turned_away = store.lanes.sign_ins.metrics.turned_away.of(lane);
                assert_eq!(turned_away.get(), 2, "{lane:?}");
                assert!(other.is_ok(), "{lane:?}");
                let found = store.find_session(&session, NOW).await;
                assert!(found.expect("verified").is_some());
                let clock = Clock::manual(NOW);
                let rotate = |_: &_| Refresh::<()>::Rotate(Device::default());
                let refreshed = store.refresh_session(&session, &clock, rotate).await;
                assert!(matches!(refreshed, Ok(Some(Refreshed::Rotated(_)))));
            }
        })
        .await;
    }
}
