//! Answers for a database that does not answer: calls fail at once, but for one at a time that
//! tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether the database answers. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker(Arc<State>);

#[derive(Debug, Default)]
struct State {
    open: AtomicBool,
    probing: AtomicBool,
    answers: AtomicU64,
}

/// The leave to ask the database. While the database does not answer, there is one at a time.
#[derive(Debug)]
pub(super) struct Pass {
    breaker: Breaker,
    is_probe: bool,
}

impl Breaker {
    /// The leave to ask; `None` if the database does not answer and another call tries already.
    pub(super) fn pass(&self) -> Option<Pass> {
        let is_probe = self.0.open.load(Ordering::SeqCst);
        if is_probe && self.0.probing.swap(true, Ordering::SeqCst) {
            return None;
        }
        let breaker = self.clone();
        Some(Pass { breaker, is_probe })
    }

    /// The database answered.
    pub(super) fn close(&self) {
        self.0.answers.fetch_add(1, Ordering::Relaxed);
        // Loaded first, because a store is dear if many threads do it all the time.
        if self.0.open.load(Ordering::SeqCst) && self.0.open.swap(false, Ordering::SeqCst) {
            tracing::info!("the database answers again");
        }
    }

    /// The database did not answer.
    pub(super) fn open(&self) {
        if !self.0.open.swap(true, Ordering::SeqCst) {
            tracing::error!(
                "the database does not answer; until it does, one call at a time asks it and the others fail at once"
            );
        }
    }

    /// How often the database has answered.
    pub(super) fn answers(&self) -> u64 {
        self.0.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.0.probing.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_database_does_not_answer_one_call_at_a_time_asks_it() {
        let breaker = Breaker::default();
        let (first, second) = (breaker.pass(), breaker.pass());
        assert!(first.is_some() && second.is_some());
        breaker.open();
        drop((first, second));
        let probe = breaker.pass();
        assert!(probe.is_some() && breaker.pass().is_none());
        drop(probe);
        let probe = breaker.pass();
        assert!(probe.is_some(), "the first probe has ended");
        breaker.close();
        assert!(breaker.pass().is_some() && breaker.pass().is_some());
    }
}
