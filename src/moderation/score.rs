//! What a violation adds, and what a score leads to.

use crate::clock::Timestamp;
use crate::config::moderation as config;
use crate::model::violation::Penalty;

/// What a violation adds if no score is configured for its type.
const DEFAULT_SCORE: u32 = 1;

/// The score of a violation type.
pub(super) fn of(kind: &str, config: &config::Moderation) -> u32 {
    config.scores.get(kind).copied().unwrap_or(DEFAULT_SCORE)
}

/// What happens when a score goes from `previous` to `score`.
pub(super) fn penalty(
    previous: i64,
    score: i64,
    config: &config::Moderation,
    now: Timestamp,
) -> Penalty {
    if !config.ban_violations || !crosses(previous, score, config.ban_interval) {
        Penalty::Nothing
    } else if config.ban_duration.is_zero() {
        Penalty::EndSessions
    } else {
        Penalty::Ban {
            until: now.plus(config.ban_duration),
        }
    }
}

/// Whether the score reached or passed a multiple of `interval` on its way from `previous` to `score`.
fn crosses(previous: i64, score: i64, interval: u32) -> bool {
    let interval = i64::from(interval.max(1));
    previous.div_euclid(interval) < score.div_euclid(interval)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
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
        let on = config();
        assert_eq!(
            penalty(19, 20, &on, NOW),
            Penalty::Ban {
                until: NOW.plus(on.ban_duration)
            }
        );
        assert_eq!(penalty(20, 21, &on, NOW), Penalty::Nothing);
        assert_eq!(
            penalty(
                19,
                20,
                &config::Moderation {
                    ban_duration: Duration::ZERO,
                    ..config()
                },
                NOW
            ),
            Penalty::EndSessions
        );
        assert_eq!(
            penalty(
                19,
                20,
                &config::Moderation {
                    ban_violations: false,
                    ..config()
                },
                NOW
            ),
            Penalty::Nothing
        );
    }

    #[test]
    fn a_type_without_a_score_of_its_own_adds_one() {
        assert_eq!(
            (of("non_browser", &config()), of("anything", &config())),
            (20, 1)
        );
    }
}
