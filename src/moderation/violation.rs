//! Violations: what may be reported, and recording them.

use super::{Address, Moderation, Recorded, score};
use crate::clock::Timestamp;
use crate::error::{Result, Violations};
use crate::id::UserId;
use crate::store::violations::NewViolation;

const MAX_KIND_LEN: usize = 64;
const MAX_REQUEST_ID_LEN: usize = 128;
const MAX_SCORE: u32 = 1000;

/// A violation as a request reports it; empty text is absence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report<'a> {
    pub kind: &'a str,
    pub user_id: &'a str,
    pub ip_address: &'a str,
    pub score: Option<i32>,
    pub request_id: &'a str,
}

/// A violation of a rule by a user, from an address, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its type, in LibreChat's words.
    pub kind: String,
    pub user: Option<UserId>,
    pub address: Option<Address>,
    /// Instead of the type's configured score.
    pub score: Option<u32>,
    pub request_id: Option<String>,
}

impl Violation {
    /// Reads a report.
    ///
    /// # Errors
    /// [`crate::error::Error::Invalid`] with everything that is wrong in it.
    pub fn read(report: &Report<'_>) -> Result<Self> {
        let mut violations = Violations::default();
        violations.check("type", check_kind(report.kind));
        let (user, address) = read_offender(report.user_id, report.ip_address, &mut violations);
        let score = report
            .score
            .and_then(|score| violations.check("score", check_score(score)));
        violations.check("request_id", check_request_id(report.request_id));
        violations.finish()?;
        let request_id = (!report.request_id.is_empty()).then(|| report.request_id.to_owned());
        Ok(Self {
            kind: report.kind.to_owned(),
            user,
            address,
            score,
            request_id,
        })
    }
}

/// Reads who a request is about: a user, an address, or both.
pub fn read_offender(
    user_id: &str,
    ip_address: &str,
    violations: &mut Violations,
) -> (Option<UserId>, Option<Address>) {
    if user_id.is_empty() && ip_address.is_empty() {
        violations.add("user_id", "user_id or ip_address is required");
    }
    let user = (!user_id.is_empty())
        .then(|| violations.check("user_id", read_user_id(user_id)))
        .flatten();
    let address = (!ip_address.is_empty())
        .then(|| violations.check("ip_address", Address::parse(ip_address)))
        .flatten();
    (user, address)
}

pub(super) fn read_user_id(text: &str) -> Result<UserId, &'static str> {
    UserId::parse(text).ok_or("a user's id of 24 hexadecimal digits is expected")
}

fn check_kind(kind: &str) -> Result<(), &'static str> {
    let named = kind
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let shaped = named && (1..=MAX_KIND_LEN).contains(&kind.len());
    if shaped {
        Ok(())
    } else {
        Err("1 to 64 of a-z, 0-9 and _ are expected")
    }
}

fn check_score(score: i32) -> Result<u32, &'static str> {
    u32::try_from(score)
        .ok()
        .filter(|score| *score <= MAX_SCORE)
        .ok_or("0 to 1000 is expected")
}

/// Checks a caller's name for its request; it may be empty.
///
/// # Errors
/// What is expected instead.
pub fn check_request_id(id: &str) -> Result<(), &'static str> {
    let shaped = id.len() <= MAX_REQUEST_ID_LEN && id.bytes().all(|b| b.is_ascii_graphic());
    if shaped {
        Ok(())
    } else {
        Err("at most 128 visible ASCII characters are expected")
    }
}

impl Moderation {
    /// Counts a violation and bans whom it takes across the interval. A request id that the caller repeats counts nothing and gets the first answer.
    ///
    /// # Errors
    /// [`crate::error::Error::StoreUnavailable`].
    pub async fn record(
        &self,
        caller: &str,
        violation: &Violation,
        now: Timestamp,
    ) -> Result<Recorded> {
        let added = violation
            .score
            .unwrap_or_else(|| score::of(&violation.kind, &self.config));
        let new = NewViolation {
            caller,
            request_id: violation.request_id.as_deref(),
            kind: &violation.kind,
            user: violation.user.as_ref(),
            address: violation
                .address
                .map(|address| (address.ip(), address.network())),
            added: added.into(),
            create_time: now,
            score_expire_time: self.config.score_ttl.map(|ttl| now.plus(ttl)),
        };
        let recorded = self
            .store
            .record_violation(&new, |previous, score| {
                score::penalty(previous, score, &self.config, now)
            })
            .await?;
        Ok(recorded)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::config::moderation as config;
    use crate::error::Error;

    /// LibreChat's defaults.
    pub(in crate::moderation) fn config() -> config::Moderation {
        config::Moderation {
            ban_violations: true,
            ban_duration: Duration::from_hours(2),
            ban_interval: 20,
            score_ttl: Some(Duration::from_hours(1)),
            scores: BTreeMap::from([("logins", 1), ("registrations", 1), ("non_browser", 20)]),
            login: config::Limit {
                max: 7,
                window: Duration::from_mins(5),
            },
            register: config::Limit {
                max: 5,
                window: Duration::from_hours(1),
            },
        }
    }

    fn wrong_fields(report: &Report<'_>) -> Vec<String> {
        match Violation::read(report) {
            Err(Error::Invalid(violations)) => violations
                .into_iter()
                .map(|violation| violation.field)
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_report_names_all_that_is_wrong_in_it() {
        let long = "x".repeat(129);
        let report = Report {
            kind: "Logins!",
            user_id: "ann",
            ip_address: "unknown",
            score: Some(1001),
            request_id: &long,
        };
        assert_eq!(
            wrong_fields(&report),
            ["type", "user_id", "ip_address", "score", "request_id"]
        );
        assert_eq!(wrong_fields(&Report::default()), ["type", "user_id"]);
    }

    #[test]
    fn bounds_are_part_of_what_is_allowed() {
        let kind = "k".repeat(64);
        let good = Report {
            kind: &kind,
            ip_address: "192.0.2.1",
            score: Some(1000),
            ..Report::default()
        };
        assert_eq!(Violation::read(&good).expect("good").score, Some(1000));
        assert_eq!(
            Violation::read(&Report {
                score: Some(0),
                ..good
            })
            .expect("good")
            .score,
            Some(0)
        );
        assert_eq!(
            wrong_fields(&Report {
                score: Some(-1),
                ..good
            }),
            ["score"]
        );
        assert_eq!(
            wrong_fields(&Report {
                kind: &"k".repeat(65),
                ..good
            }),
            ["type"]
        );
        assert_eq!(
            wrong_fields(&Report {
                request_id: "two words",
                ..good
            }),
            ["request_id"]
        );
    }
}
