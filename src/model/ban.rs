//! Bans.

use super::network::Network;
use super::page::{Cursor, Positioned};
use crate::clock::Timestamp;
use crate::id::{BanId, UserId};

/// A refusal of a user or of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    pub id: BanId,
    pub target: BanTarget,
    /// The violation type that crossed the interval, or an administrator's words.
    pub reason: String,
    /// The violation type that crossed the interval; empty for an administrator's ban.
    pub violation_type: String,
    /// The calling backend that reported the violation or asked for the ban.
    pub caller: String,
    pub create_time: Timestamp,
    /// `None` for a ban until lifted.
    pub expire_time: Option<Timestamp>,
}

impl Ban {
    /// Whether it is a ban of the same target, for the same time and reason.
    pub fn is_like(&self, other: &Self) -> bool {
        let duration = |ban: &Self| ban.expire_time.map(|end| ban.create_time.until(end));
        self.target == other.target
            && self.reason == other.reason
            && duration(self) == duration(other)
    }
}

/// Whom a ban refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanTarget {
    User(UserId),
    Network(Network),
}

impl BanTarget {
    pub fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Network(_) => None,
        }
    }

    pub fn network(&self) -> Option<Network> {
        match self {
            Self::User(_) => None,
            Self::Network(network) => Some(*network),
        }
    }
}

impl Positioned for Ban {
    fn cursor(&self) -> Cursor {
        Cursor {
            time: self.create_time,
            id: self.id.to_string(),
        }
    }
}
