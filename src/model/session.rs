//! Sessions.

use std::time::Duration;

use super::account::User;
use super::page::{Cursor, Positioned};
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};

/// The end user's device, as far as the calling backend told; empty text means that it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub ip_address: String,
    pub user_agent: String,
    pub name: String,
}

/// A session. Its generation says which refresh token is current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: UserId,
    /// The calling backend; only it can refresh the session.
    pub caller: String,
    /// `local`, `caller` or a provider's id.
    pub provider: String,
    /// How the user authenticated: RFC 8176 names, separated by spaces. After a sign-in at a
    /// provider, `fed` and what the provider says.
    pub amr: String,
    /// The class of the authentication as the user's provider names it (`acr`), or empty.
    pub acr: String,
    /// Random bytes that refresh tokens are derived with.
    pub salt: Vec<u8>,
    /// 1 when the session opens, and one more with each refresh.
    pub generation: i64,
    pub ip_address: String,
    pub user_agent: String,
    pub device_name: String,
    /// The caller's name for the request that opened it.
    pub request_id: Option<String>,
    pub auth_time: Timestamp,
    pub create_time: Timestamp,
    /// When it was refreshed last.
    pub refresh_time: Timestamp,
    pub expire_time: Timestamp,
    pub revoke_time: Option<Timestamp>,
    /// When it was last used without being refreshed, as far as that was written; zero if never.
    pub last_seen_time: Timestamp,
}

/// Which sessions are live: those that have not been ended, expire later than `now`, and were used at
/// `used_since` or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAt {
    pub now: Timestamp,
    /// The beginning of time if sessions may be idle for ever.
    pub used_since: Timestamp,
}

/// How many live sessions a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    pub most: u32,
    /// See [`LiveAt`].
    pub used_since: Timestamp,
}

/// How and when a user authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// When; `None` if it was just now.
    pub time: Option<Timestamp>,
    /// How: RFC 8176 names, separated by spaces.
    pub amr: String,
    /// Its class as the user's provider names it, or empty.
    pub acr: String,
}

impl Authentication {
    /// An authentication by this method, just now.
    pub fn by(method: &str) -> Self {
        Self {
            time: None,
            amr: method.to_owned(),
            acr: String::new(),
        }
    }
}

/// A session with its user and whether the user is banned.
#[derive(Clone, Debug)]
pub struct SessionState {
    pub session: Session,
    pub user: User,
    pub ban: Option<UserBan>,
}

/// The ban of a user that lasts longest of those in force when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBan {
    /// `None` for a ban until lifted.
    pub until: Option<Timestamp>,
}

/// What became of a session to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Opened {
        /// When it counts as opened: in the next second if the user's other sessions were ended in
        /// this one.
        create_time: Timestamp,
        /// How many of the user's oldest sessions were ended, because there were too many.
        ended: u64,
    },
    /// Its request id has opened one before.
    Repeated,
    /// Its user is banned.
    Banned(UserBan),
}

/// What to do with a session whose refresh token was presented.
#[derive(Debug)]
pub enum Refresh<T> {
    /// Move it to the next generation and keep what is known of the device.
    Rotate(Device),
    /// Leave it as it is.
    Leave(T),
}

/// What became of a session whose refresh token was presented.
#[derive(Debug)]
pub enum Refreshed<T> {
    /// It was at the generation that the state has, and is at the next one now.
    Rotated(SessionState),
    /// It was left as it is.
    Left(SessionState, T),
    /// Somebody else moved or ended it after it was read: read it again.
    Lost,
}

impl LiveAt {
    /// At `now`, if a session may be idle for so long.
    #[must_use]
    pub fn new(now: Timestamp, idle: Option<Duration>) -> Self {
        let used_since = idle.map_or(Timestamp::from_millis(i64::MIN), |idle| now.minus(idle));
        Self { now, used_since }
    }
}

impl Session {
    /// When it was used last, as far as that was written.
    #[must_use]
    pub fn last_use(&self) -> Timestamp {
        self.last_seen_time.max(self.refresh_time)
    }

    /// Whether it has not been used for too long; `seen` is when it was used last beyond what was
    /// written.
    #[must_use]
    pub fn is_idle(&self, at: LiveAt, seen: Timestamp) -> bool {
        self.last_use().max(seen) < at.used_since
    }

    /// Lets it count as opened at this time.
    pub fn opened_at(self, create_time: Timestamp) -> Self {
        Self {
            create_time,
            refresh_time: create_time,
            last_seen_time: create_time,
            ..self
        }
    }

    /// What is known of the end user's device.
    pub fn device(&self) -> Device {
        Device {
            ip_address: self.ip_address.clone(),
            user_agent: self.user_agent.clone(),
            name: self.device_name.clone(),
        }
    }
}

/// Why nobody may act in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLive {
    /// Its user is banned.
    Banned(UserBan),
    /// It was ended.
    Revoked,
    /// Its time is over, or it has not been used for too long.
    Expired,
}

impl SessionState {
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let session = &self.session;
        let texts = [
            &session.caller,
            &session.provider,
            &session.amr,
            &session.acr,
            &session.ip_address,
            &session.user_agent,
            &session.device_name,
        ];
        let request_id = session.request_id.as_ref().map_or(0, String::len);
        texts.map(String::len).iter().sum::<usize>() + request_id + self.user.text_bytes()
    }

    /// Checks that the user is not banned and that the session is live; `seen` is when it was used last
    /// beyond what was written. The ban comes first, because it ends the user's sessions too and is the
    /// better answer.
    ///
    /// # Errors
    /// The first of the reasons why not, in the order of [`NotLive`].
    pub fn check_live(&self, at: LiveAt, seen: Timestamp) -> Result<(), NotLive> {
        if let Some(ban) = self.ban.filter(|ban| ban.in_force(at.now)) {
            Err(NotLive::Banned(ban))
        } else if self.session.revoke_time.is_some() {
            Err(NotLive::Revoked)
        } else if at.now >= self.session.expire_time || self.session.is_idle(at, seen) {
            Err(NotLive::Expired)
        } else {
            Ok(())
        }
    }
}

impl UserBan {
    /// Whether it is still in force.
    pub fn in_force(self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Positioned for Session {
    fn cursor(&self) -> Cursor {
        Cursor {
            time: self.create_time,
            id: self.id.to_string(),
        }
    }
}
