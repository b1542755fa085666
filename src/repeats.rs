//! Lines of the log that could come with every call: one a minute for each key, so that they cannot
//! fill the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

/// How long further lines of a key are only counted.
const QUIET: Duration = Duration::from_mins(1);
/// How many keys are remembered; the others share one line a minute.
const MAX_KEYS: usize = 1024;

/// Which keys were logged, and when.
#[derive(Debug)]
pub struct Repeats<K> {
    clock: Clock,
    known: Mutex<Known<K>>,
}

#[derive(Debug)]
struct Known<K> {
    keys: HashMap<Option<K>, Logged>,
    /// When old keys were last forgotten.
    tidied: Duration,
}

#[derive(Debug)]
struct Logged {
    at: Duration,
    unlogged: u64,
}

impl<K: Eq + Hash + Clone> Repeats<K> {
    /// Nothing was logged yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let known = Known {
            keys: HashMap::new(),
            tidied: Duration::ZERO,
        };
        Self {
            clock,
            known: Mutex::new(known),
        }
    }

    /// The key to be logged, with how many of its lines were not; `None` if it is too early. A line
    /// of no key stands for all keys beyond those that are remembered.
    pub fn due(&self, key: Option<K>) -> Option<(Option<K>, u64)> {
        let now = self.clock.elapsed();
        let is_recent = |logged: &Logged| now.saturating_sub(logged.at) < QUIET;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.keys.len() >= MAX_KEYS && now.saturating_sub(known.tidied) >= QUIET {
            known.keys.retain(|_, logged| is_recent(logged));
            known.tidied = now;
        }
        let all = &mut known.keys;
        let is_full = all.len() >= MAX_KEYS;
        let is_known = |key: &K| !is_full || all.contains_key(&Some(key.clone()));
        let key = key.filter(is_known);
        let first = Logged {
            at: now,
            unlogged: 0,
        };
        let Some(logged) = all.get_mut(&key) else {
            all.insert(key.clone(), first);
            return Some((key, 0));
        };
        if is_recent(logged) {
            logged.unlogged += 1;
            return None;
        }
        let unlogged = logged.unlogged;
        *logged = first;
        Some((key, unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_key_is_logged_once_a_minute_with_the_number_of_its_other_lines() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let repeats = Repeats::new(clock.clone());
        assert_eq!(repeats.due(Some(1)), Some((Some(1), 0)));
        for _ in 0..1000 {
            assert_eq!(repeats.due(Some(1)), None);
        }
        assert_eq!(repeats.due(Some(2)), Some((Some(2), 0)));
        clock.advance(QUIET);
        assert_eq!(repeats.due(Some(1)), Some((Some(1), 1000)));
        assert_eq!(repeats.due(Some(1)), None);
    }

    #[test]
    fn many_keys_share_a_line_and_take_no_more_memory() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let repeats = Repeats::new(clock.clone());
        let lines = (0..100_000).filter_map(|number| repeats.due(Some(number)));
        assert_eq!(lines.count(), MAX_KEYS + 1);
        assert!(repeats.known.lock().expect("no panic").keys.len() <= MAX_KEYS + 1);
        clock.advance(2 * QUIET);
        assert_eq!(repeats.due(Some(200_000)), Some((Some(200_000), 0)));
    }
}
