//! Finds out whether the store answers, and tells it to whoever shows the service's health.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::clock::Clock;
use crate::health::Health;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::token;

/// How often the store is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it may take to answer. A new connection may be needed for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked at whether the store has answered anybody.
const LOOK: Duration = Duration::from_millis(200);
/// The service is not ready if the store has not answered for so long.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// The background task that asks the store.
#[derive(Debug)]
pub struct StoreWatch {
    store: Store,
    clock: Clock,
    health: Health,
    tasks: Tasks,
}

/// How long the store has answered nobody.
#[derive(Debug)]
struct Silence {
    length: Duration,
    /// How often the store had answered at the last look, and when that was.
    answers: u64,
    looked: Duration,
}

impl Silence {
    fn new(answers: u64, now: Duration) -> Self {
        Self {
            length: Duration::ZERO,
            answers,
            looked: now,
        }
    }

    /// Its length now. The time since the last look counts for two periods at most: a process that
    /// stood still has not asked.
    fn look(&mut self, answers: u64, now: Duration) -> Duration {
        let since = now.saturating_sub(self.looked).min(2 * LOOK);
        self.looked = now;
        self.length = if answers == self.answers {
            self.length + since
        } else {
            Duration::ZERO
        };
        self.answers = answers;
        self.length
    }
}

impl StoreWatch {
    /// The name of the task.
    pub const NAME: &str = "store_watch";

    /// A watch over a store that has just answered.
    #[must_use]
    pub fn new(store: Store, health: Health, tasks: Tasks) -> Self {
        Self {
            clock: tasks.clock().clone(),
            store,
            health,
            tasks,
        }
    }

    /// Asks the store every second, and tells whether it answers. Answers to calls count too. It never
    /// returns.
    pub async fn run(self) {
        tokio::join!(self.ask(), self.tell());
    }

    async fn ask(&self) {
        let mut ticks = ticks(PERIOD);
        loop {
            ticks.tick().await;
            let _answers_are_counted = timeout(ANSWER_WITHIN, self.store.ask()).await;
        }
    }

    async fn tell(&self) {
        let mut ticks = ticks(LOOK);
        let mut silence = Silence::new(self.store.answers(), self.clock.elapsed());
        loop {
            ticks.tick().await;
            let count = self.store.answers();
            if count != silence.answers {
                self.tasks.note_success(Self::NAME);
            }
            let length = silence.look(count, self.clock.elapsed());
            let (answers, verifies) = verdict(length);
            self.health.note_store(answers, verifies);
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether the store counts as answering, and whether VerifyToken can be answered, from memory if need
/// be.
fn verdict(silence: Duration) -> (bool, bool) {
    let answers = silence < LONGEST_SILENCE;
    (answers, answers || token::verifies_without_store(silence))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::metrics::{Format, Metrics};
    use crate::store::testing::on_each_engine;

    #[test]
    fn after_five_seconds_of_silence_the_store_does_not_answer() {
        assert!(verdict(Duration::from_millis(4999)).0);
        assert!(!verdict(LONGEST_SILENCE).0);
        // What is in memory counts for half a minute.
        assert_eq!(verdict(Duration::from_millis(4999)), (true, true));
        assert_eq!(verdict(Duration::from_secs(30)), (false, true));
        assert_eq!(verdict(Duration::from_millis(30_001)), (false, false));
    }

    #[test]
    fn a_silence_is_told_five_seconds_after_the_last_answer_whenever_that_was() {
        for answered in (0..1000).step_by(50).map(Duration::from_millis) {
            let mut silence = Silence::new(0, Duration::ZERO);
            let mut looks = (0..).map(|look| look * LOOK);
            let told = looks.find(|now| {
                let answers = u64::from(*now >= answered);
                !verdict(silence.look(answers, *now)).0
            });
            let after = told.expect("told").saturating_sub(answered);
            assert!(
                (LONGEST_SILENCE..LONGEST_SILENCE + LOOK).contains(&after),
                "{after:?}"
            );
        }
    }

    #[test]
    fn a_process_that_stood_still_does_not_take_that_for_a_silence() {
        let mut silence = Silence::new(0, Duration::ZERO);
        let hour = Duration::from_hours(1);
        assert_eq!(silence.look(0, hour), 2 * LOOK);
        assert_eq!(silence.look(0, hour + LOOK), 3 * LOOK);
        assert_eq!(silence.look(1, 2 * hour), Duration::ZERO);
    }

    #[tokio::test]
    async fn an_answer_to_anybody_is_a_success_of_the_watch() {
        on_each_engine(async |store| {
            let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
            let metrics = Metrics::new(&clock);
            let tasks = Tasks::new(clock, Arc::clone(&metrics.tasks));
            let watch = StoreWatch::new(store.clone(), Health::new(), tasks);
            let last = "countersign_background_task_last_success_timestamp_seconds{task=\"store_watch\"} 1800000000";
            let seen = || metrics.text(Format::Prometheus).contains(last);
            assert!(!seen());
            let answered = async {
                while !seen() {
                    store.ask().await.expect("an answer");
                }
            };
            tokio::select! {
                // It does not ask.
                () = watch.tell() => unreachable!("it never returns"),
                () = answered => {}
            }
        })
        .await;
    }
}
