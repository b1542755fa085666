//! Tells the rest of this process what a commit changed, before the call that committed is
//! answered.

use std::fmt;
use std::sync::{Arc, RwLock};

use crate::id::{SessionId, UserId};

/// A committed change of something that a cache may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session was ended.
    SessionRevoked(SessionId),
    /// The provider tokens of a session were renewed, failed to be, or were deleted.
    TokensChanged(SessionId),
    /// Provider tokens of a user's sessions were deleted.
    TokensOfUserChanged(UserId),
    /// Sessions of a user were ended, with their provider tokens, or the user's fields or bans
    /// changed.
    UserChanged(UserId),
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

/// The listeners. Clones share them.
#[derive(Clone, Default)]
pub struct Changes(Arc<RwLock<Vec<Listener>>>);

impl Changes {
    /// Calls `listener` at every change from now on. It runs within the call that committed, so it
    /// has to be quick and must not call the store.
    pub fn listen(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(Box::new(listener));
    }

    /// Calls the listeners. Store functions do this after their commit.
    pub(crate) fn publish(&self, change: &Change) {
        for listener in self
            .0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
        {
            listener(change);
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}
