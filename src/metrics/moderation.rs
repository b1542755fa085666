//! Limits, violations and bans.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// What a limit is on.
    Attempt = "limiter" {
        Login = "login",
        Register = "register",
    }
}

label! {
    /// What was decided of whoever was looked up.
    Decision = "decision" {
        Allowed = "allowed",
        Refused = "refused",
    }
}

label! {
    /// Whom a ban is of.
    Banned = "target" {
        User = "user",
        Network = "network",
    }
}

label! {
    /// What made a ban.
    Cause = "cause" {
        /// Violations added up.
        Score = "score",
        /// A caller asked for it.
        Caller = "caller",
    }
}

/// What is counted of moderation.
#[derive(Debug)]
pub struct Moderation {
    pub attempts: Cells<(Attempt, Decision), Counter>,
    pub ban_checks: Cells<Decision, Counter>,
    pub violations: Counter,
    pub bans: Cells<(Banned, Cause), Counter>,
}

impl Moderation {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            attempts: register(
                registry,
                "countersign_limited_attempts",
                "Logins and registrations counted by limits",
            ),
            ban_checks: register(
                registry,
                "countersign_ban_checks",
                "Look-ups of whether a user or an address is banned",
            ),
            violations: register(
                registry,
                "countersign_violations",
                "Violations that were recorded",
            ),
            bans: register(registry, "countersign_bans", "Bans that were made"),
        }
    }
}
