//! Opening sessions. A request that is repeated opens no second one.

use std::time::Duration;

use super::{TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::cache::Moment;
use crate::id::{SessionId, UserId};
use crate::jose::MAX_LIFETIME;
use crate::metrics;
use crate::model::account::User;
use crate::model::request_id::RequestId;
use crate::model::session::{Authentication, Device, NotLive, Opening, Session, SessionState};
use crate::secret;

const SALT_LEN: usize = 16;
/// For how long a request may be repeated: as long as its session's first access token could have
/// lived.
const REPEATED: Duration = MAX_LIFETIME;

/// A session to be opened for a user who has authenticated.
#[derive(Debug)]
pub struct OpenSession {
    pub user_id: UserId,
    /// How the user is let in, for the metrics.
    pub way: metrics::Opened,
    /// The calling backend; only it can refresh the session.
    pub caller: String,
    /// `local`, `caller` or a provider's id.
    pub provider: String,
    pub authentication: Authentication,
    pub device: Device,
    /// How long it lasts; `None`, or longer than configured, means as configured.
    pub ttl: Option<Duration>,
    /// The caller's name for this request, if it may be repeated.
    pub request_id: Option<RequestId>,
}

impl Tokens {
    /// A new session, not yet stored. Once it is, [`Tokens::issue`] makes its first tokens.
    pub fn new_session(&self, open: OpenSession, now: Timestamp) -> Session {
        let longest = self.0.settings.session_ttl;
        // In whole seconds, so that two sessions of the same `ttl` are as long.
        let ttl = open.ttl.map_or(longest, |ttl| ttl.min(longest));
        let ttl = Duration::from_secs(ttl.as_secs());
        Session {
            id: SessionId::new(),
            user_id: open.user_id,
            caller: open.caller,
            provider: open.provider,
            amr: open.authentication.amr,
            acr: open.authentication.acr,
            salt: secret::random::<SALT_LEN>().to_vec(),
            generation: 1,
            ip_address: open.device.ip_address,
            user_agent: open.device.user_agent,
            device_name: open.device.name,
            request_id: open.request_id.map(RequestId::into_string),
            // A provider's clock may be fast.
            auth_time: open.authentication.time.map_or(now, |time| time.min(now)),
            create_time: now,
            refresh_time: now,
            // In whole seconds like a JWT's `exp`, so that the last access token can expire exactly
            // with the session.
            expire_time: now.plus(ttl).whole_secs(),
            revoke_time: None,
            last_seen_time: now,
        }
    }

    /// Opens a session of a user whose reading began at `began`. A repeated request id gets the
    /// current token pair of the session that it opened.
    ///
    /// # Errors
    /// [`Error::Banned`]; [`Error::RequestIdUsed`] if the session that the request id opened was
    /// asked for otherwise or is over; and the store's errors.
    pub async fn open(
        &self,
        open: OpenSession,
        user: &User,
        began: Moment,
        now: Timestamp,
    ) -> Result<TokenPair> {
        let way = open.way;
        let session = self.new_session(open, now);
        let limit = self.session_limit(now);
        match self.0.store.insert_session(&session, limit).await? {
            Opening::Opened { create_time, ended } => {
                self.note_opened(way, user, ended);
                let state = SessionState {
                    session: session.opened_at(create_time),
                    user: user.clone(),
                    ban: None,
                };
                Ok(self.issue(state, began, now))
            }
            Opening::Banned(ban) => Err(Error::Banned { until: ban.until }),
            Opening::Repeated => self.open_again(&session, now).await,
        }
    }

    /// Counts a session that was opened for a user, and logs that their oldest ones were ended for
    /// it.
    pub fn note_opened(&self, way: metrics::Opened, user: &User, ended: u64) {
        self.0.metrics.opened.of(way).inc();
        if ended > 0 {
            tracing::info!(user = %user.id, sessions = ended, "a user's oldest sessions were ended, because they had too many");
        }
    }

    /// The tokens of the session that the request id opened before, as long as its refresh token has
    /// not been used.
    async fn open_again(&self, session: &Session, now: Timestamp) -> Result<TokenPair> {
        let request_id = session.request_id.as_deref().unwrap_or_default();
        let id = self
            .0
            .store
            .find_session_by_request(&session.caller, request_id)
            .await?
            .ok_or(Error::SessionNotFound)?;
        let began = self.moment();
        let state = self
            .0
            .store
            .find_session(&id, now)
            .await?
            .ok_or(Error::SessionNotFound)?;
        let opened = &state.session;
        if !is_like(opened, session) || now >= opened.create_time.plus(REPEATED) {
            return Err(Error::RequestIdUsed);
        }
        match self.0.check_live(&state, now) {
            Ok(()) => Ok(self.issue_again(state, began, now)),
            Err(NotLive::Banned(ban)) => Err(Error::Banned { until: ban.until }),
            Err(NotLive::Revoked | NotLive::Expired) => Err(Error::RequestIdUsed),
        }
    }
}

/// Whether a session was asked for as another one is asked for now, and its first refresh token has
/// not been used.
fn is_like(opened: &Session, asked: &Session) -> bool {
    // Sessions end at a whole second, so their lengths differ by less than one. A session may count
    // as opened a second later than its caller vouched for the user.
    let seconds = |session: &Session| {
        let begin = session.auth_time;
        begin.until(session.expire_time).as_millis().div_ceil(1000)
    };
    opened.user_id == asked.user_id
        && seconds(opened) == seconds(asked)
        && opened.generation == 1
        && opened.device() == asked.device()
}
