//! Rotations of which the store did not say whether it wrote them.
//!
//! A database that stops in the middle of a call may write a rotation long after the call has failed,
//! with the time at which the call sent it. The grace time is then over before anybody could retry,
//! and an honest retry would look like a second use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use moka::sync::Cache;

use super::refresh::Presented;
use crate::clock::Clock;
use crate::id::SessionId;

/// For how long the holder of a token may retry a rotation in doubt.
const FORGIVEN: Duration = Duration::from_mins(10);
/// How many are remembered; beyond that, some are forgotten, and their retries look like reuse.
const MAX: u64 = 10_000;

/// The rotations in doubt of this process: for each session the generation and when it was tried.
#[derive(Debug)]
pub(super) struct Doubts {
    clock: Clock,
    tried: Cache<SessionId, (i64, Duration)>,
}

/// A rotation that may be under way. If it is dropped before the store has answered, it is in doubt.
pub(super) struct Rotation<'a> {
    doubts: &'a Doubts,
    token: &'a Presented,
    is_sent: AtomicBool,
}

impl Doubts {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            tried: Cache::new(MAX),
        }
    }

    /// Whether the rotation of this token was tried and its outcome is not known.
    pub(super) fn contain(&self, token: &Presented) -> bool {
        self.tried
            .get(&token.session)
            .is_some_and(|(generation, tried)| {
                generation == token.generation
                    && self.clock.elapsed().saturating_sub(tried) <= FORGIVEN
            })
    }

    /// Watches over one rotation of the token.
    pub(super) fn watch<'a>(&'a self, token: &'a Presented) -> Rotation<'a> {
        Rotation {
            doubts: self,
            token,
            is_sent: AtomicBool::new(false),
        }
    }
}

impl Rotation<'_> {
    /// The store is asked to write it.
    pub(super) fn send(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    /// The store has said whether it wrote it.
    pub(super) fn settle(&self) {
        self.is_sent.store(false, Ordering::Relaxed);
    }
}

impl Drop for Rotation<'_> {
    fn drop(&mut self) {
        if self.is_sent.load(Ordering::Relaxed) {
            let tried = (self.token.generation, self.doubts.clock.elapsed());
            self.doubts.tried.insert(self.token.session.clone(), tried);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn only_a_rotation_without_an_answer_is_in_doubt_and_not_for_long() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let doubts = Doubts::new(clock.clone());
        let [answered, lost, later] = [(1, 7), (2, 7), (2, 8)].map(|(session, generation)| {
            Presented::of(SessionId::from_bytes([session; 16]), generation)
        });
        let rotation = doubts.watch(&answered);
        rotation.send();
        rotation.settle();
        drop(rotation);
        drop(doubts.watch(&answered));
        doubts.watch(&lost).send();
        let in_doubt = |token| doubts.contain(token);
        assert_eq!(
            [&answered, &lost, &later].map(in_doubt),
            [false, true, false]
        );
        clock.advance(FORGIVEN + Duration::from_millis(1));
        assert!(!doubts.contain(&lost));
    }
}
