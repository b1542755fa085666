//! What other processes have to know of a commit: the content of the change feed.

use crate::clock::Timestamp;
use crate::id::{BanId, SessionId, UserId};

/// A committed change of what a token's verification depends on, or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session was ended.
    SessionRevoked(SessionId),
    /// All sessions of a user that were opened before this time were ended, except one.
    UserNotBefore {
        user: UserId,
        not_before: Timestamp,
        except: Option<SessionId>,
    },
    /// The fields of a user changed that an access token's verification tells.
    UserChanged(UserId),
    /// A user or addresses were banned; the user, if it is one.
    Banned { ban: BanId, user: Option<UserId> },
    /// A ban was lifted; the user, if it was of one.
    BanLifted { ban: BanId, user: Option<UserId> },
    /// A signing key was revoked, and replaced if it was the active one.
    KeyRevoked(String),
    /// Signing keys came, went, or changed their states.
    KeysChanged,
    /// A change that this version does not know, made by a newer one.
    Unknown,
}

/// A change and its number in the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Changes are numbered without gaps, in the order of their commits.
    pub number: i64,
    pub change: Change,
}
