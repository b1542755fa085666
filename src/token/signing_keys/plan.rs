//! What is due of the signing keys.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::jose::MAX_LIFETIME;
use crate::model::signing_key::{SigningKeyInfo, SigningKeyState};

/// How long the next key is published before it signs by itself, so that those who verify tokens
/// themselves know it by then.
const PUBLISHED: Duration = Duration::from_hours(24);
/// How long a retired key is kept: longer than any token that it signed, by as much as the clocks of
/// processes may differ.
const RETIRED: Duration = MAX_LIFETIME.saturating_add(Duration::from_hours(1));
/// How long a revoked key is shown.
const REVOKED: Duration = Duration::from_hours(30 * 24);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Make a next key.
    Publish,
    /// Let the next key sign instead of the active one.
    Promote { next: String, active: String },
    /// Delete the keys that were retired or revoked by then.
    Delete {
        retired: Timestamp,
        revoked: Timestamp,
    },
}

/// What is due now, the most urgent first. If the clock was set back, nothing is until it has caught
/// up.
pub(super) fn plan(keys: &[SigningKeyInfo], rotation: Duration, now: Timestamp) -> Option<Due> {
    rotate(keys, rotation, now).or_else(|| delete(keys, now))
}

fn rotate(keys: &[SigningKeyInfo], rotation: Duration, now: Timestamp) -> Option<Due> {
    let find = |state| keys.iter().find(|key| key.state == state);
    let active = find(SigningKeyState::Active)?;
    let since = active.activate_time.unwrap_or(active.create_time);
    match find(SigningKeyState::Next) {
        // At once, so that there is one when the active key is rotated or revoked by hand.
        None => Some(Due::Publish),
        Some(next) => {
            let is_due = now >= since.plus(rotation) && now >= next.create_time.plus(PUBLISHED);
            is_due.then(|| Due::Promote {
                next: next.kid.clone(),
                active: active.kid.clone(),
            })
        }
    }
}

fn delete(keys: &[SigningKeyInfo], now: Timestamp) -> Option<Due> {
    let (retired, revoked) = (now.minus(RETIRED), now.minus(REVOKED));
    let is_over = |key: &SigningKeyInfo| match key.state {
        SigningKeyState::Next | SigningKeyState::Active => false,
        SigningKeyState::Retired => key.retire_time.is_some_and(|time| time <= retired),
        SigningKeyState::Revoked => key.revoke_time.is_some_and(|time| time <= revoked),
    };
    let is_due = keys.iter().any(is_over);
    is_due.then_some(Due::Delete { retired, revoked })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Algorithm;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);
    const MONTH: Duration = Duration::from_hours(30 * 24);
    const MOMENT: Duration = Duration::from_millis(1);

    /// A key that came into this state at that time.
    fn key(state: SigningKeyState, time: Timestamp) -> SigningKeyInfo {
        let at = |of| (state == of).then_some(time);
        SigningKeyInfo {
            kid: state.name().to_owned(),
            algorithm: Algorithm::EdDsa,
            state,
            create_time: time,
            activate_time: at(SigningKeyState::Active),
            retire_time: at(SigningKeyState::Retired),
            revoke_time: at(SigningKeyState::Revoked),
        }
    }

    fn promote() -> Due {
        Due::Promote {
            next: "next".to_owned(),
            active: "active".to_owned(),
        }
    }

    #[test]
    fn if_there_is_no_next_key_one_is_published() {
        let keys = [key(SigningKeyState::Active, NOW)];
        assert_eq!(plan(&keys, MONTH, NOW), Some(Due::Publish));
    }

    #[test]
    fn the_next_key_signs_when_it_is_due_and_has_been_published_for_a_day() {
        let active = key(SigningKeyState::Active, NOW);
        for published in [NOW, NOW.plus(29 * DAY), NOW.plus(5 * MONTH)] {
            let keys = [key(SigningKeyState::Next, published), active.clone()];
            let due = NOW.plus(MONTH).max(published.plus(DAY));
            assert_eq!(plan(&keys, MONTH, due.minus(MOMENT)), None);
            assert_eq!(plan(&keys, MONTH, due), Some(promote()));
            assert_eq!(plan(&keys, MONTH, due.plus(10 * MONTH)), Some(promote()));
        }
    }

    #[test]
    fn keys_are_kept_for_as_long_as_their_tokens_may_live_or_they_are_shown() {
        for (state, kept) in [
            (SigningKeyState::Retired, MAX_LIFETIME + DAY / 24),
            (SigningKeyState::Revoked, MONTH),
        ] {
            let later = NOW.plus(MONTH);
            let [next, active] =
                [SigningKeyState::Next, SigningKeyState::Active].map(|state| key(state, later));
            let keys = [next, active, key(state, NOW)];
            let due = NOW.plus(kept);
            assert_eq!(plan(&keys, MONTH, due.minus(MOMENT)), None);
            let (retired, revoked) = (due.minus(RETIRED), due.minus(REVOKED));
            assert_eq!(
                plan(&keys, MONTH, due),
                Some(Due::Delete { retired, revoked })
            );
        }
    }

    #[test]
    fn nothing_is_due_if_the_clock_was_set_back() {
        let keys = [
            key(SigningKeyState::Next, NOW),
            key(SigningKeyState::Active, NOW),
            key(SigningKeyState::Retired, NOW),
            key(SigningKeyState::Revoked, NOW),
        ];
        for back in [MOMENT, DAY, 100 * MONTH] {
            assert_eq!(plan(&keys, MONTH, NOW.minus(back)), None);
        }
    }
}
