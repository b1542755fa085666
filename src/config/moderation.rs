//! Violations, bans and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arithmetic;
use super::reader::Reader;

/// Violations, bans and limits.
#[derive(Clone, Debug)]
pub struct Moderation {
    /// BAN_VIOLATIONS, default true: whether crossing the interval bans.
    pub ban_violations: bool,
    /// BAN_DURATION, default 2 hours; zero ends sessions and bans nobody.
    pub ban_duration: Duration,
    /// BAN_INTERVAL, default 20.
    pub ban_interval: u32,
    /// VIOLATION_SCORE_TTL, default 1 hour: how long a score lasts after its last violation; `None` (0) for ever.
    pub score_ttl: Option<Duration>,
    /// Score of each violation type that has a variable of its own (LOGIN_VIOLATION_SCORE, …) or costs nothing; other types score 1.
    pub scores: BTreeMap<&'static str, u32>,
    /// LOGIN_MAX (7) in LOGIN_WINDOW (5 minutes), by address.
    pub login: Limit,
    /// REGISTER_MAX (5) in REGISTER_WINDOW (60 minutes), by address.
    pub register: Limit,
}

/// So many attempts in a window.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Attempts that are let through.
    pub max: u32,
    /// From the first attempt on.
    pub window: Duration,
}

const HOUR: Duration = Duration::from_hours(1);
/// What a caller may give in RecordViolation at most.
const MAX_SCORE: u32 = 1000;

/// LibreChat's violation types with their variables and what they score where unset.
const SCORES: [(&str, &str, u32); 14] = [
    ("logins", "LOGIN_VIOLATION_SCORE", 1),
    ("registrations", "REGISTRATION_VIOLATION_SCORE", 1),
    ("concurrent", "CONCURRENT_VIOLATION_SCORE", 1),
    ("message_limit", "MESSAGE_VIOLATION_SCORE", 1),
    ("non_browser", "NON_BROWSER_VIOLATION_SCORE", 20),
    ("illegal_model_request", "ILLEGAL_MODEL_REQ_SCORE", 1),
    ("reset_password_limit", "RESET_PASSWORD_VIOLATION_SCORE", 1),
    ("verify_email_limit", "VERIFY_EMAIL_VIOLATION_SCORE", 1),
    ("file_upload_limit", "FILE_UPLOAD_VIOLATION_SCORE", 1),
    ("tts_limit", "TTS_VIOLATION_SCORE", 1),
    ("stt_limit", "STT_VIOLATION_SCORE", 1),
    ("tool_call_limit", "TOOL_CALL_VIOLATION_SCORE", 1),
    ("convo_access", "CONVO_ACCESS_VIOLATION_SCORE", 1),
    ("share_limit", "SHARE_VIOLATION_SCORE", 0),
];
/// Running out of credits is no abuse.
const FREE: &str = "token_balance";

impl Moderation {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            ban_violations: r.flag("BAN_VIOLATIONS", true),
            ban_duration: r.duration("BAN_DURATION", 2 * HOUR, Duration::ZERO),
            ban_interval: r.parse("BAN_INTERVAL", interval).unwrap_or(20),
            score_ttl: Some(r.duration("VIOLATION_SCORE_TTL", HOUR, Duration::ZERO))
                .filter(|ttl| !ttl.is_zero()),
            scores: scores(r),
            login: Limit::read(r, ("LOGIN_MAX", 7), ("LOGIN_WINDOW", 5)),
            register: Limit::read(r, ("REGISTER_MAX", 5), ("REGISTER_WINDOW", 60)),
        }
    }
}

impl Limit {
    fn read(r: &mut Reader<'_>, max: (&str, u32), minutes: (&str, u32)) -> Self {
        Self {
            max: r.number(max.0, max.1, 1, u32::MAX),
            window: r.minutes(minutes.0, minutes.1),
        }
    }
}

fn scores(r: &mut Reader<'_>) -> BTreeMap<&'static str, u32> {
    let mut scores = BTreeMap::from([(FREE, 0)]);
    scores
        .extend(SCORES.map(|(kind, name, default)| (kind, r.number(name, default, 0, MAX_SCORE))));
    scores
}

fn interval(text: &str) -> Result<u32, &'static str> {
    let value = arithmetic::evaluate(text)?;
    // The text of a whole float is that of the integer, and no cast can go wrong.
    let interval = value
        .to_string()
        .parse()
        .ok()
        .filter(|interval| *interval > 0);
    interval.ok_or("must be a whole number above 0")
}
