//! What a violation adds, and what a score leads to.

use crate::config::moderation as config;
use crate::id::BanId;
use crate::model::ban::{Ban, BanTarget};
use crate::model::violation::{NewViolation, Penalty};

/// What a violation adds if no score is configured for its type.
const DEFAULT_SCORE: u32 = 1;

/// The score of a violation type.
pub(super) fn of(kind: &str, config: &config::Moderation) -> u32 {
    config.scores.get(kind).copied().unwrap_or(DEFAULT_SCORE)
}

/// What happens to a target when a violation brings its score from the first of `scores` to the
/// second.
pub(super) fn penalty(
    violation: &NewViolation<'_>,
    target: &BanTarget,
    (previous, score): (i64, i64),
    config: &config::Moderation,
) -> Penalty {
    let now = violation.create_time;
    if !config.ban_violations || !crosses(previous, score, config.ban_interval) {
        Penalty::Nothing
    } else if config.ban_duration.is_zero() {
        Penalty::EndSessions
    } else {
        Penalty::Ban(Ban {
            id: BanId::new(now),
            target: target.clone(),
            reason: violation.kind.to_owned(),
            violation_type: violation.kind.to_owned(),
            caller: violation.caller.to_owned(),
            create_time: now,
            expire_time: Some(now.plus(config.ban_duration)),
        })
    }
}

/// Whether the score reached or passed a multiple of `interval` on its way from `previous` to
/// `score`.
fn crosses(previous: i64, score: i64, interval: u32) -> bool {
    let interval = i64::from(interval.max(1));
    previous.div_euclid(interval) < score.div_euclid(interval)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::moderation::testing::config;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn a_ban_is_due_when_a_multiple_of_the_interval_is_reached() {
        for (previous, score) in [(19, 20), (19, 39), (19, 100), (39, 40), (0, 20)] {
            assert!(crosses(previous, score, 20), "{previous} → {score}");
        }
        for (previous, score) in [(0, 19), (0, 0), (0, -10), (20, 20), (20, 39), (40, 39)] {
            assert!(!crosses(previous, score, 20), "{previous} → {score}");
        }
        assert!(crosses(0, 1, 1) && crosses(0, 1, 0) && !crosses(1, 1, 1));
    }

    #[test]
    fn the_switch_and_the_duration_say_what_a_crossing_does() {
        let target = BanTarget::Network("192.0.2.1".parse().expect("a network"));
        let violation = NewViolation {
            caller: "chat",
            request_id: None,
            kind: "non_browser",
            user: None,
            address: None,
            added: 1,
            score_given: true,
            create_time: NOW,
            score_expire_time: None,
        };
        let penalty = |scores, config| penalty(&violation, &target, scores, &config);
        let Penalty::Ban(ban) = penalty((19, 20), config()) else {
            panic!("no ban")
        };
        assert_eq!((&ban.target, &*ban.reason), (&target, "non_browser"));
        assert_eq!(ban.expire_time, Some(NOW.plus(config().ban_duration)));
        assert_eq!(penalty((20, 21), config()), Penalty::Nothing);
        let soft = config::Moderation {
            ban_duration: Duration::ZERO,
            ..config()
        };
        assert_eq!(penalty((19, 20), soft), Penalty::EndSessions);
        let off = config::Moderation {
            ban_violations: false,
            ..config()
        };
        assert_eq!(penalty((19, 20), off), Penalty::Nothing);
    }

    #[test]
    fn a_type_without_a_score_of_its_own_adds_one() {
        assert_eq!(
            (of("non_browser", &config()), of("anything", &config())),
            (20, 1)
        );
    }
}
