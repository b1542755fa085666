//! Violations, bans and limits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::arithmetic;
use super::reader::Reader;

/// Violations, bans and limits.
#[derive(Clone, Debug)]
pub struct Moderation {
    /// BAN_VIOLATIONS, default true: whether a score that crosses a multiple of the interval bans.
    pub ban_violations: bool,
    /// BAN_DURATION, default 2 hours; if zero, sessions end but nobody is banned.
    pub ban_duration: Duration,
    /// BAN_INTERVAL, default 20.
    pub ban_interval: u32,
    /// VIOLATION_SCORE_TTL, default 1 hour: how long a score lasts after its last violation; `None`
    /// (0) is for ever.
    pub score_ttl: Option<Duration>,
    /// The score of each violation type that has a setting of its own (LOGIN_VIOLATION_SCORE, …) or
    /// that scores nothing. Every other type scores 1.
    pub scores: BTreeMap<&'static str, u32>,
    /// LOGIN_MAX (7) in LOGIN_WINDOW (5 minutes), per IP address.
    pub login: Limit,
    /// REGISTER_MAX (5) in REGISTER_WINDOW (60 minutes), per IP address.
    pub register: Limit,
}

/// The most attempts within a window.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// How many attempts are allowed.
    pub max: u32,
    /// The length of the window, which begins with the first attempt.
    pub window: Duration,
}

const HOUR: Duration = Duration::from_hours(1);
/// The highest score of one violation, which is also the most that RecordViolation accepts.
const MAX_SCORE: u32 = 1000;

/// LibreChat's violation types, the setting of each and its default score.
const SCORES: [(&str, &str, u32); 16] = [
    ("logins", "LOGIN_VIOLATION_SCORE", 1),
    ("registrations", "REGISTRATION_VIOLATION_SCORE", 1),
    ("concurrent", "CONCURRENT_VIOLATION_SCORE", 1),
    ("message_limit", "MESSAGE_VIOLATION_SCORE", 1),
    ("non_browser", "NON_BROWSER_VIOLATION_SCORE", 20),
    ("illegal_model_request", "ILLEGAL_MODEL_REQ_SCORE", 1),
    ("reset_password_limit", "RESET_PASSWORD_VIOLATION_SCORE", 1),
    ("verify_email_limit", "VERIFY_EMAIL_VIOLATION_SCORE", 1),
    ("file_upload_limit", "FILE_UPLOAD_VIOLATION_SCORE", 1),
    // LibreChat counts these two as `file_upload_limit`, with a score of their own.
    ("import_limit", "IMPORT_VIOLATION_SCORE", 1),
    ("fork_limit", "FORK_VIOLATION_SCORE", 1),
    ("tts_limit", "TTS_VIOLATION_SCORE", 1),
    ("stt_limit", "STT_VIOLATION_SCORE", 1),
    ("tool_call_limit", "TOOL_CALL_VIOLATION_SCORE", 1),
    ("convo_access", "CONVO_ACCESS_VIOLATION_SCORE", 1),
    ("share_limit", "SHARE_VIOLATION_SCORE", 0),
];
/// Scores nothing: a user who runs out of credits does no harm.
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
    // A whole float prints like the integer, so parsing its text converts it without a lossy cast.
    let interval = value
        .to_string()
        .parse()
        .ok()
        .filter(|interval| *interval > 0);
    interval.ok_or("must be a whole number above 0")
}
