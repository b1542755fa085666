//! Tells the rest of this process what was committed: what this process commits before the call that
//! committed is answered, and what others commit once the change feed shows it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::id::{SessionId, UserId};
use crate::model::change::{Change, Numbered};

/// What a commit affects of what a cache may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A session was ended.
    SessionRevoked(SessionId),
    /// The provider tokens of a session were renewed, failed to be, or were deleted.
    TokensChanged(SessionId),
    /// Provider tokens of a user's sessions were deleted.
    TokensOfUserChanged(UserId),
    /// Sessions of a user were ended, with their provider tokens, or the user's fields or bans
    /// changed.
    UserChanged(UserId),
    /// The signing key with this `kid` was revoked.
    KeyRevoked(String),
    /// Signing keys came, went, or changed their states.
    KeysChanged,
    /// It is not known what changed.
    Everything,
}

type Listener = Box<dyn Fn(&Announcement) + Send + Sync>;

/// How many of this process's own changes are remembered until the feed shows them. If there
/// are more, because nobody follows the feed, some changes are announced twice, which does no harm.
const OWN: usize = 10_000;

/// The listeners. Clones share them.
#[derive(Clone, Default)]
pub struct Announcements(Arc<Shared>);

#[derive(Default)]
struct Shared {
    listeners: RwLock<Vec<Listener>>,
    /// The changes that this process has committed and announced, and that the feed has not shown yet,
    /// by their numbers.
    own: Mutex<BTreeMap<i64, Change>>,
}

impl Announcement {
    /// What a change of the feed affects; `None` if no cache holds anything of it.
    fn of(change: &Change) -> Option<Self> {
        match change {
            Change::SessionRevoked(session) => Some(Self::SessionRevoked(session.clone())),
            Change::UserNotBefore { user, .. } | Change::UserChanged(user) => {
                Some(Self::UserChanged(user.clone()))
            }
            // Whether an address is banned is looked up at each call.
            Change::Banned { user, .. } | Change::BanLifted { user, .. } => {
                user.clone().map(Self::UserChanged)
            }
            Change::KeyRevoked(kid) => Some(Self::KeyRevoked(kid.clone())),
            Change::KeysChanged => Some(Self::KeysChanged),
            Change::Unknown => Some(Self::Everything),
        }
    }
}

impl Announcements {
    /// Calls `listener` at every announcement from now on. It runs within the call that committed,
    /// so it has to be quick and must not call the store.
    pub fn listen(&self, listener: impl Fn(&Announcement) + Send + Sync + 'static) {
        let listeners = self.0.listeners.write();
        let mut listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Announces a change that this process has committed.
    pub(crate) fn publish_own(&self, change: &Numbered) {
        self.publish_change(&change.change);
        let mut own = self.own();
        if own.len() >= OWN {
            own.clear();
        }
        own.insert(change.number, change.change.clone());
    }

    /// Announces changes that the feed shows, but for those of this process.
    pub(crate) fn publish_followed(&self, changes: &[Numbered]) {
        let Some(last) = changes.last() else { return };
        let own = {
            let mut own = self.own();
            let later = own.split_off(&(last.number + 1));
            std::mem::replace(&mut *own, later)
        };
        for Numbered { number, change } in changes {
            // Another one can have the number if a standby took over that had not got ours.
            if own.get(number) != Some(change) {
                self.publish_change(change);
            }
        }
    }

    /// The number of the last change that this process has committed and the feed has not shown yet;
    /// zero if there is none.
    pub(crate) fn last_own(&self) -> i64 {
        self.own().last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Announces that anything may have changed.
    pub(crate) fn publish_everything(&self) {
        self.own().clear();
        self.publish(&Announcement::Everything);
    }

    fn publish_change(&self, change: &Change) {
        if let Some(announcement) = Announcement::of(change) {
            self.publish(&announcement);
        }
    }

    /// Calls the listeners.
    pub(crate) fn publish(&self, announcement: &Announcement) {
        let listeners = self.0.listeners.read();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.iter() {
            listener(announcement);
        }
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<i64, Change>> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Announcements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcements").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_change_with_the_number_of_an_own_one_is_announced() {
        let announcements = Announcements::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        announcements.listen(move |announced| {
            let mut heard = listener.lock().expect("no panic");
            heard.push(announced.clone());
        });
        let ended = |number| {
            let session = SessionId::new();
            let change = Change::SessionRevoked(session.clone());
            (
                Numbered { number, change },
                Announcement::SessionRevoked(session),
            )
        };
        let ((own, told_own), (others, told_others)) = (ended(1), ended(1));
        announcements.publish_own(&own);
        assert_eq!(announcements.last_own(), 1);
        announcements.publish_followed(std::slice::from_ref(&own));
        assert_eq!(announcements.last_own(), 0);
        announcements.publish_own(&own);
        announcements.publish_followed(&[others]);
        let heard = heard.lock().expect("no panic");
        assert_eq!(*heard, [told_own.clone(), told_own, told_others]);
    }
}
