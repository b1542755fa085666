//! Finds out whether the store answers, and tells it to whoever shows the service's health.

use std::pin::pin;
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
/// The service is not ready if the store has not answered for so long.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);

/// The background task that asks the store.
#[derive(Debug)]
pub struct StoreWatch {
    store: Store,
    clock: Clock,
    health: Health,
    tasks: Tasks,
    silence: Silence,
}

/// Since when the store has not answered.
#[derive(Debug, Default)]
struct Silence {
    /// When the first question that got no answer was asked.
    since: Option<Duration>,
    /// How often the store had answered at the last look.
    answers: u64,
}

impl Silence {
    /// Notes that the store is asked.
    fn ask(&mut self, now: Duration) {
        self.since.get_or_insert(now);
    }

    /// How long the store has been asked without an answer to anybody; `None` if it answered.
    fn length(&mut self, answers: u64, now: Duration) -> Option<Duration> {
        if answers != self.answers {
            self.answers = answers;
            self.since = None;
        }
        self.since.map(|since| now.saturating_sub(since))
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
            silence: Silence::default(),
        }
    }

    /// Asks the store every second. Answers to calls count too.
    pub async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.ask(&mut ticks).await;
            self.judge();
        }
    }

    /// Asks once, and looks at the silence so far while it waits for the answer.
    async fn ask(&mut self, ticks: &mut Interval) {
        self.silence.ask(self.clock.elapsed());
        let store = self.store.clone();
        let mut asked = pin!(timeout(ANSWER_WITHIN, store.ask()));
        loop {
            tokio::select! {
                answer = &mut asked => {
                    if matches!(answer, Ok(Ok(()))) {
                        self.tasks.note_success(Self::NAME);
                    }
                    return;
                }
                _ = ticks.tick() => {
                    self.judge();
                    // This question has no answer yet, even if a call got one meanwhile.
                    self.silence.ask(self.clock.elapsed());
                }
            }
        }
    }

    fn judge(&mut self) {
        let silence = self
            .silence
            .length(self.store.answers(), self.clock.elapsed());
        let (answers, verifies) = verdict(silence.unwrap_or_default());
        self.health.note_store(answers, verifies);
    }
}

/// Whether the store counts as answering, and whether VerifyToken can be answered.
fn verdict(silence: Duration) -> (bool, bool) {
    let answers = silence < LONGEST_SILENCE;
    (answers, answers || token::verifies_without_store(silence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_five_seconds_of_silence_the_store_does_not_answer() {
        assert!(verdict(Duration::from_millis(4999)).0);
        assert!(!verdict(LONGEST_SILENCE).0);
        // What is in memory counts for a second.
        assert_eq!(verdict(Duration::from_millis(4999)), (true, true));
        assert_eq!(verdict(LONGEST_SILENCE), (false, false));
    }

    #[test]
    fn a_silence_begins_with_a_question_and_ends_with_any_answer() {
        let at = Duration::from_secs;
        let mut silence = Silence::default();
        assert_eq!(silence.length(0, at(100)), None, "nobody asked");
        silence.ask(at(100));
        silence.ask(at(103));
        assert_eq!(silence.length(0, at(104)), Some(at(4)));
        assert_eq!(silence.length(1, at(105)), None);
        silence.ask(at(200));
        assert_eq!(silence.length(1, at(201)), Some(at(1)));
    }
}
