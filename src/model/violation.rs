//! Violations of a rule, and what they lead to.

use std::net::IpAddr;

use super::ban::{Ban, BanTarget};
use super::network::Network;
use crate::clock::Timestamp;
use crate::id::UserId;

/// A violation to be recorded.
#[derive(Debug)]
pub struct NewViolation<'a> {
    /// The calling backend that reports it.
    pub caller: &'a str,
    pub request_id: Option<&'a str>,
    /// Its type, in LibreChat's words.
    pub kind: &'a str,
    pub user: Option<&'a UserId>,
    /// The address, and the network that is scored for it.
    pub address: Option<(IpAddr, Network)>,
    /// What it adds to the scores; not negative.
    pub added: i64,
    /// Whether the request gave this score. Otherwise it is the configured one, which may have been
    /// another when the request was made first.
    pub score_given: bool,
    pub create_time: Timestamp,
    /// When the scores return to nothing, if no other violation follows.
    pub score_expire_time: Option<Timestamp>,
}

impl NewViolation<'_> {
    /// Who is scored: the user, then the network. The order is always the same, so that parallel
    /// violations lock rows in the same order and cannot deadlock.
    pub fn targets(&self) -> impl Iterator<Item = BanTarget> {
        let user = self.user.cloned().map(BanTarget::User);
        user.into_iter()
            .chain(self.address.map(|(_, network)| BanTarget::Network(network)))
    }
}

/// What a score does to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Penalty {
    Nothing,
    /// Ends a user's sessions and bans nobody.
    EndSessions,
    /// Bans the target, which ends a user's sessions too.
    Ban(Ban),
}

/// The answer to a violation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The user's score, or the address's if no user was named.
    pub score: i64,
    pub previous_score: i64,
    /// The bans that it made, the user's first.
    pub bans: Vec<Ban>,
}

impl Recorded {
    /// Of the bans that it made, the one that lasts longest.
    pub fn longest_ban(&self) -> Option<&Ban> {
        self.bans
            .iter()
            .max_by_key(|ban| ban.expire_time.map_or(i64::MAX, Timestamp::millis))
    }
}

/// An attempt that a limiter counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How many there were in this window, this one included.
    pub count: i64,
    /// When the window ends.
    pub reset_time: Timestamp,
}
