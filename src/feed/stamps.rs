//! Remembers when sessions and users last changed, so that what was read before a change is not
//! used after it.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many numbers are kept. Two sessions or users that share one only make each other's values
/// be read again, so there need not be one for each.
const SLOTS: usize = 16_384;

/// For each session and user the number of its last change. The memory is the same however many
/// there are.
#[derive(Debug)]
pub(in crate::feed) struct Stamps {
    /// How many changes there were.
    changes: AtomicU64,
    last: Box<[AtomicU64]>,
    /// Keyed at random, so that nobody can choose ids that share a number.
    hasher: RandomState,
}

/// Where the number of a session or a user is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::feed) struct Slot(usize);

impl Stamps {
    pub(in crate::feed) fn new() -> Self {
        Self {
            changes: AtomicU64::new(0),
            last: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is less than SLOTS"
    )]
    pub(in crate::feed) fn slot(&self, id: &impl Hash) -> Slot {
        Slot((self.hasher.hash_one(id) % SLOTS as u64) as usize)
    }

    /// How many changes there were so far.
    pub(in crate::feed) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Notes a change. A value that is read after this returns has it.
    pub(in crate::feed) fn mark(&self, slot: Slot) {
        let number = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.last[slot.0].fetch_max(number, Ordering::SeqCst);
    }

    /// Notes that anything may have changed.
    pub(in crate::feed) fn mark_all(&self) {
        let number = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        for last in &self.last {
            last.fetch_max(number, Ordering::SeqCst);
        }
    }

    /// Whether there was a change after the first `changes`.
    pub(in crate::feed) fn is_after(&self, slot: Slot, changes: u64) -> bool {
        self.last[slot.0].load(Ordering::SeqCst) > changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_after_what_was_counted_before_it_and_concerns_one_slot() {
        let stamps = Stamps::new();
        let (changed, other) = (Slot(1), Slot(2));
        let before = stamps.changes();
        stamps.mark(changed);
        assert!(stamps.is_after(changed, before));
        assert!(!stamps.is_after(changed, stamps.changes()));
        assert!(!stamps.is_after(other, before));
    }
}
