//! Violations, bans and limits.

use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Score of each violation type that has a variable of its own (LOGIN_VIOLATION_SCORE, …); other types score 1.
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
