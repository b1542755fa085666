//! Sessions and their tokens.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// How a session was opened.
    Opened = "method" {
        Password = "password",
        /// By a login at a provider.
        Federated = "federated",
        /// By a caller, without the user.
        Mint = "mint",
    }
}

label! {
    /// The outcome of verifying an access token.
    Verified = "outcome" {
        Active = "active",
        Invalid = "invalid",
        Expired = "expired",
        SessionRevoked = "session_revoked",
        Banned = "banned",
        /// The session could not be read.
        Failed = "failed",
    }
}

label! {
    /// Where the state of a token's session came from.
    Source = "source" {
        /// From memory, or it was not needed.
        Memory = "memory",
        Store = "store",
    }
}

label! {
    /// The outcome of presenting a refresh token.
    Refreshed = "outcome" {
        /// The session is at its next generation.
        Rotated = "rotated",
        /// The same successor was given once more.
        Repeated = "repeated",
        /// It was used before, so its session was ended.
        Reused = "reused",
        Refused = "refused",
        /// The session could not be read or written.
        Failed = "failed",
    }
}

label! {
    /// What came of a user's attempt to authenticate again.
    Reauthenticated = "outcome" {
        Proven = "proven",
        Refused = "refused",
        /// There were too many, or the session could not be read or written.
        Failed = "failed",
    }
}

label! {
    /// The outcome of exchanging an access token for a narrower one.
    Exchange = "outcome" {
        Exchanged = "exchanged",
        Refused = "refused",
        /// The session could not be read.
        Failed = "failed",
    }
}

label! {
    /// Why a session was ended, as it is stored and counted.
    Ended = "reason" {
        Logout = "logout",
        Revoked = "revoked",
        Banned = "banned",
        /// Its refresh token was used again.
        Reused = "reused",
        /// The caller gave up before the sign-in was complete.
        Abandoned = "abandoned",
        /// The user had as many as they may have, and opened another one.
        Cap = "cap",
        /// Nobody used it for too long.
        Idle = "idle",
    }
}

label! {
    /// What came of writing when sessions were used.
    LastSeen = "outcome" {
        Written = "written",
        /// It is tried again.
        Failed = "failed",
        /// There were too many; the next use is written.
        Dropped = "dropped",
    }
}

/// What is counted of sessions.
#[derive(Debug)]
pub struct Sessions {
    pub opened: Cells<Opened, Counter>,
    pub verified: Cells<(Verified, Source), Counter>,
    pub refreshed: Cells<Refreshed, Counter>,
    pub reauthenticated: Cells<Reauthenticated, Counter>,
    pub exchanged: Cells<Exchange, Counter>,
    pub ended: Cells<Ended, Counter>,
    pub last_seen: Cells<LastSeen, Counter>,
    /// Watches of revocations that are open.
    pub watchers: Gauge,
}

impl Sessions {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            opened: register(
                registry,
                "countersign_sessions_opened",
                "Sessions that were opened",
            ),
            verified: register(
                registry,
                "countersign_token_verifications",
                "Access tokens that were verified",
            ),
            refreshed: register(
                registry,
                "countersign_session_refreshes",
                "Refresh tokens that were presented to be exchanged",
            ),
            reauthenticated: register(
                registry,
                "countersign_session_reauthentications",
                "Attempts of signed-in users to authenticate again",
            ),
            exchanged: register(
                registry,
                "countersign_token_exchanges",
                "Access tokens that were presented to be exchanged for narrower ones",
            ),
            ended: register(
                registry,
                "countersign_sessions_ended",
                "Sessions that were ended before they expired",
            ),
            last_seen: register(
                registry,
                "countersign_session_last_seen_writes",
                "Sessions whose last use was to be written",
            ),
            watchers: register(
                registry,
                "countersign_revocation_watchers",
                "Calls of WatchRevocations that are open",
            ),
        }
    }
}
