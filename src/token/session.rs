//! Sessions: opened, refreshed, listed and ended.

use std::time::Duration;

use super::access::Pairing;
use super::refresh::{Presented, Step, decide};
use super::{TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::secret;
use crate::store::sessions::{Client, NewSession, Opening, SessionState, SessionSummary};
use crate::store::users::User;

/// JWTs count in seconds.
const SHORTEST: Duration = Duration::from_secs(1);
/// A lost race is decided anew; each round needs another winner, so few are enough.
const ROUNDS: usize = 4;

/// A session to be opened for a user who has authenticated.
#[derive(Debug)]
pub struct OpenSession {
    pub user_id: UserId,
    /// The calling backend; only it can refresh the session.
    pub caller: String,
    /// `local`, `caller` or a provider's id.
    pub provider: String,
    /// How the user authenticated, RFC 8176 names separated by spaces.
    pub amr: &'static str,
    pub client: Client,
    /// How long it lasts; `None` or longer than configured means as configured.
    pub ttl: Option<Duration>,
    /// The caller's name for this request, where it may be repeated.
    pub request_id: Option<String>,
}

impl Tokens {
    /// The row of a new session; whoever commits it gives the user [`Tokens::first_pair`].
    #[must_use]
    pub fn new_session(&self, open: OpenSession, now: Timestamp) -> NewSession {
        let longest = self.0.settings.session_ttl;
        NewSession {
            id: SessionId::new(),
            user_id: open.user_id,
            caller: open.caller,
            provider: open.provider,
            amr: open.amr.to_owned(),
            salt: secret::random(),
            client: open.client,
            request_id: open.request_id,
            auth_time: now,
            create_time: now,
            // A whole second, as JWTs count: the last access token ends with the session, and lives until then.
            expire_time: Timestamp::from_secs(
                now.plus(open.ttl.map_or(longest, |ttl| ttl.min(longest)))
                    .secs(),
            ),
        }
    }

    /// The first pair of a new session.
    #[must_use]
    pub fn first_pair(&self, session: &NewSession, now: Timestamp) -> TokenPair {
        let pairing = Pairing {
            id: &session.id,
            user_id: &session.user_id,
            caller: &session.caller,
            amr: &session.amr,
            salt: &session.salt,
            generation: 1,
            auth_time: session.auth_time,
            expire_time: session.expire_time,
        };
        self.pair(&pairing, now)
    }

    /// Opens a session. A repeated request id gives the same session's current pair again.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Banned`]; [`Error::SessionRevoked`] where the session that the request id opened is over; the store's.
    pub async fn open(&self, open: OpenSession, now: Timestamp) -> Result<TokenPair> {
        if open.ttl.is_some_and(|ttl| ttl < SHORTEST) {
            return Err(Error::invalid("ttl", "must be at least a second"));
        }
        let session = self.new_session(open, now);
        match self.0.store.insert_session(&session).await? {
            Opening::Opened => Ok(self.first_pair(&session, now)),
            Opening::Banned(ban) => Err(Error::Banned { until: ban.until }),
            Opening::Repeated => self.open_again(&session, now).await,
        }
    }

    /// The current pair of the session that the request id opened before.
    async fn open_again(&self, session: &NewSession, now: Timestamp) -> Result<TokenPair> {
        let request_id = session.request_id.as_deref().unwrap_or_default();
        let id = self
            .0
            .store
            .find_session_by_request(&session.caller, request_id)
            .await?
            .ok_or(Error::SessionNotFound)?;
        let state = self
            .0
            .store
            .find_session(&id, now)
            .await?
            .ok_or(Error::SessionNotFound)?;
        if state.user.id != session.user_id {
            return Err(Error::invalid(
                "request_id",
                "has been used for another user",
            ));
        }
        if now >= state.expire_time {
            return Err(Error::SessionRevoked);
        }
        live(&state, now)?;
        Ok(self.current_pair(&state, now))
    }

    /// Exchanges a refresh token for the next pair.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`], [`Error::RefreshTokenExpired`], [`Error::RefreshTokenReused`], [`Error::SessionRevoked`],
    /// [`Error::StoreRolledBack`], [`Error::Banned`]; the store's.
    pub async fn refresh(
        &self,
        token: &str,
        caller: &str,
        client: &Client,
        now: Timestamp,
    ) -> Result<(TokenPair, User)> {
        let presented = Presented::parse(token).ok_or(Error::RefreshTokenInvalid)?;
        for _ in 0..ROUNDS {
            let mut step = Err(Error::RefreshTokenInvalid);
            let read = self
                .0
                .store
                .refresh_session(&presented.session, now, |state| {
                    step = self.step(&presented, state, caller, now);
                    matches!(step, Ok(Step::Rotate)).then(|| keep_known(client, &state.client))
                });
            let (mut state, rotated) = read.await?.ok_or(Error::RefreshTokenInvalid)?;
            match step? {
                Step::Rotate if rotated => {
                    state.generation += 1;
                    return Ok((self.current_pair(&state, now), state.user));
                }
                Step::Rotate => {}
                Step::Repeat => return Ok((self.current_pair(&state, now), state.user)),
                // Boxed, because the rare path would make the future of every refresh five times as large.
                Step::Reused => return Err(Box::pin(self.end_reused(&state, now)).await?),
                Step::Ahead => {
                    tracing::error!(session = %state.id, "a refresh token is ahead of the store: the store was set back");
                    return Err(Error::StoreRolledBack);
                }
            }
        }
        Err(Error::Busy {
            retry_after: Duration::from_secs(1),
        })
    }

    /// Ends the session of a refresh token of any generation, and says which. An ended session is no error.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`] where the token is not one of ours; the store's.
    pub async fn session_of_refresh_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<SessionState> {
        let presented = Presented::parse(token).ok_or(Error::RefreshTokenInvalid)?;
        self.genuine_session(&presented, now).await
    }

    /// Ends a session, with `owner` only that user's. An unknown one is no error.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke(
        &self,
        session: &SessionId,
        owner: Option<&UserId>,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        Ok(self
            .0
            .store
            .revoke_session(session, owner, reason, now)
            .await?)
    }

    /// Ends all sessions of a user but `except`, and says how many.
    ///
    /// # Errors
    /// The store's.
    pub async fn revoke_all(
        &self,
        user: &UserId,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64> {
        Ok(self
            .0
            .store
            .revoke_user_sessions(user, except, "revoked", now)
            .await?)
    }

    /// At most `size` of a user's live sessions made before (`create_time`, `id`), newest first, and whether there are more.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        user: &UserId,
        before: (i64, &str),
        size: usize,
        now: Timestamp,
    ) -> Result<(Vec<SessionSummary>, bool)> {
        let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
        let mut sessions = self.0.store.list_sessions(user, before, limit, now).await?;
        let more = sessions.len() > size;
        sessions.truncate(size);
        Ok((sessions, more))
    }

    /// What a token means for its session, once it is genuine, its caller's, and the session live.
    fn step(
        &self,
        presented: &Presented,
        state: &SessionState,
        caller: &str,
        now: Timestamp,
    ) -> Result<Step> {
        if !self.0.refresh.is_genuine(presented, &state.salt) || state.caller != caller {
            return Err(Error::RefreshTokenInvalid);
        }
        live(state, now)?;
        Ok(decide(
            presented.generation,
            state.generation,
            state.refresh_time,
            now,
        ))
    }

    async fn genuine_session(&self, presented: &Presented, now: Timestamp) -> Result<SessionState> {
        let state = self
            .0
            .store
            .find_session(&presented.session, now)
            .await?
            .ok_or(Error::RefreshTokenInvalid)?;
        if self.0.refresh.is_genuine(presented, &state.salt) {
            Ok(state)
        } else {
            Err(Error::RefreshTokenInvalid)
        }
    }

    /// A spent token came back: whoever holds a copy, the session ends for both.
    async fn end_reused(&self, state: &SessionState, now: Timestamp) -> Result<Error> {
        tracing::warn!(session = %state.id, user = %state.user.id, "a spent refresh token was used again; its session has been ended");
        self.0
            .store
            .revoke_session(&state.id, None, "reused", now)
            .await?;
        Ok(Error::RefreshTokenReused)
    }

    fn current_pair(&self, state: &SessionState, now: Timestamp) -> TokenPair {
        let pairing = Pairing {
            id: &state.id,
            user_id: &state.user.id,
            caller: &state.caller,
            amr: &state.amr,
            salt: &state.salt,
            generation: state.generation,
            auth_time: state.auth_time,
            expire_time: state.expire_time,
        };
        self.pair(&pairing, now)
    }
}

/// Banned is answered before anything about the session.
fn live(state: &SessionState, now: Timestamp) -> Result<()> {
    if let Some(ban) = state.ban.filter(|ban| ban.in_force(now)) {
        return Err(Error::Banned { until: ban.until });
    }
    if state.revoked {
        return Err(Error::SessionRevoked);
    }
    if now >= state.expire_time {
        return Err(Error::RefreshTokenExpired);
    }
    Ok(())
}

/// What the caller did not say of the end user's connection stays as it was.
fn keep_known(new: &Client, known: &Client) -> Client {
    let text = |new: &String, known: &String| {
        if new.is_empty() {
            known.clone()
        } else {
            new.clone()
        }
    };
    Client {
        ip_address: new.ip_address.or(known.ip_address),
        user_agent: text(&new.user_agent, &known.user_agent),
        device_name: text(&new.device_name, &known.device_name),
    }
}
