//! Sessions: refreshed, listed and ended.

use std::time::Duration;

use super::refresh::{Presented, Stay, Step, decide};
use super::{TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::cache::Moment;
use crate::id::{SessionId, UserId};
use crate::metrics::{self, Ended};
use crate::model::account::User;
use crate::model::page::{Page, PageRequest};
use crate::model::session::{Device, NotLive, Refresh, Refreshed, Session, SessionState};
use crate::store::Expired;

/// How often a refresh reads the session again after another refresh moved it. Each round is lost
/// only to yet another refresh, so few rounds are enough.
const ROUNDS: usize = 4;
/// How long an expired session is kept, so that its refresh tokens are still told apart from forged
/// ones.
const RETENTION: Duration = Duration::from_hours(30 * 24);
/// How long a change stays in the feed: longer than any access token that it concerns.
const CHANGES_RETENTION: Duration = Duration::from_hours(25);

impl Tokens {
    /// The user's live session whose good provider tokens were renewed last; `good_until` is when an
    /// access token that counts as good expires at the earliest.
    pub async fn acting_session(
        &self,
        user: &UserId,
        good_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<SessionId>> {
        let at = self.0.last_seen.live_at(now);
        let found = self.0.store.find_acting_session(user, at, good_until);
        Ok(found.await?)
    }

    /// The rows that nobody needs any more, and up to when.
    pub fn expired(now: Timestamp) -> [(Expired, Timestamp); 3] {
        [
            (Expired::FederatedTokens, now),
            (Expired::Sessions, now.minus(RETENTION)),
            (Expired::Changes, now.minus(CHANGES_RETENTION)),
        ]
    }

    /// Exchanges a refresh token for the next pair.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`], [`Error::RefreshTokenExpired`],
    /// [`Error::RefreshTokenReused`], [`Error::SessionRevoked`], [`Error::StoreRolledBack`],
    /// [`Error::Banned`], and the store's errors.
    pub async fn refresh(
        &self,
        token: &str,
        caller: &str,
        device: &Device,
        now: Timestamp,
    ) -> Result<(TokenPair, User)> {
        let refreshed = self.exchange(token, caller, device, now).await;
        let outcome = refreshed
            .as_ref()
            .map_or_else(refusal, |(outcome, _)| *outcome);
        self.0.metrics.refreshed.of(outcome).inc();
        refreshed.map(|(_, pair)| pair)
    }

    /// Exchanges a refresh token, and says how.
    async fn exchange(
        &self,
        token: &str,
        caller: &str,
        device: &Device,
        now: Timestamp,
    ) -> Result<(metrics::Refreshed, (TokenPair, User))> {
        let presented = Presented::parse(token).ok_or(Error::RefreshTokenInvalid)?;
        for _ in 0..ROUNDS {
            // The store may have been slow, so the call's time is too old to decide by: another call
            // may have rotated the token since.
            let clock = &self.0.clock;
            let rotation = self.0.doubts.watch(&presented);
            let decide =
                |state: &SessionState| match self.step(&presented, state, caller, clock.now()) {
                    Ok(Step::Rotate) => {
                        rotation.send();
                        Refresh::Rotate(keep_known(device, state.session.device()))
                    }
                    Ok(Step::Stay(stay)) => Refresh::Leave(Ok(stay)),
                    Err(error) => Refresh::Leave(Err(error)),
                };
            let began = self.moment();
            let refreshed = self
                .0
                .store
                .refresh_session(&presented.session, clock, decide)
                .await?
                .ok_or(Error::RefreshTokenInvalid)?;
            rotation.settle();
            match refreshed {
                Refreshed::Rotated(mut state) => {
                    state.session.generation += 1;
                    let user = state.user.clone();
                    let pair = self.issue(state, began, now);
                    return Ok((metrics::Refreshed::Rotated, (pair, user)));
                }
                Refreshed::Left(state, stay) => {
                    // Boxed, because the rare path would make the future of every refresh five
                    // times as large.
                    let pair = Box::pin(self.stay(state, stay?, began, now)).await?;
                    return Ok((metrics::Refreshed::Repeated, pair));
                }
                Refreshed::Lost => {}
            }
        }
        Err(Error::Busy {
            retry_after: Duration::from_secs(1),
        })
    }

    /// What the caller gets if the session stays at its generation.
    async fn stay(
        &self,
        state: SessionState,
        stay: Stay,
        began: Moment,
        now: Timestamp,
    ) -> Result<(TokenPair, User)> {
        match stay {
            Stay::Repeat => {
                let user = state.user.clone();
                Ok((self.issue_again(state, began, now), user))
            }
            Stay::Reused => Err(self.end_reused(&state, now).await?),
            Stay::Ahead => {
                tracing::error!(session = %state.session.id, "a refresh token is newer than the store: the store was set back");
                Err(Error::StoreRolledBack)
            }
        }
    }

    /// The session of a genuine refresh token of any generation, live or not.
    ///
    /// # Errors
    /// [`Error::RefreshTokenInvalid`] if the token was not issued here, and the store's errors.
    pub async fn session_of_refresh_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<SessionState> {
        let presented = Presented::parse(token).ok_or(Error::RefreshTokenInvalid)?;
        self.genuine_session(&presented, now).await
    }

    /// Ends a session; with `owner`, only if it is that user's. Returns whether it ended it: an
    /// unknown session, or one that had ended, is not an error.
    pub async fn revoke(
        &self,
        session: &SessionId,
        owner: Option<&UserId>,
        reason: Ended,
        now: Timestamp,
    ) -> Result<bool> {
        let store = &self.0.store;
        let ended = store.revoke_session(session, owner, reason, now).await?;
        if !ended {
            // If another process has ended it, memory may not know yet.
            self.0.sessions.forget_if_live(session);
        }
        Ok(ended)
    }

    /// Ends all live sessions of a user except `except`, and returns how many it ended.
    pub async fn revoke_all(
        &self,
        user: &UserId,
        except: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<u64> {
        Ok(self
            .0
            .store
            .revoke_user_sessions(user, except, Ended::Revoked, now)
            .await?)
    }

    /// A user's live sessions, newest first, with when they were used as far as this process knows.
    pub async fn list(
        &self,
        user: &UserId,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<Page<Session>> {
        let at = self.0.last_seen.live_at(now);
        let mut page = self.0.store.list_sessions(user, page, now).await?;
        for session in &mut page.items {
            let seen = self.0.sessions.seen(&session.id);
            session.last_seen_time = session.last_use().max(seen);
        }
        page.items
            .retain(|session| !session.is_idle(at, session.last_seen_time));
        Ok(page)
    }

    /// Checks that the token is genuine, that the session belongs to the caller and that it is
    /// live; then decides what the token means for it.
    fn step(
        &self,
        presented: &Presented,
        state: &SessionState,
        caller: &str,
        now: Timestamp,
    ) -> Result<Step> {
        let session = &state.session;
        if !self.0.refresh.is_genuine(presented, &session.salt) || session.caller != caller {
            return Err(Error::RefreshTokenInvalid);
        }
        self.0.check_live(state, now).map_err(not_live)?;
        let step = decide(
            presented.generation,
            session.generation,
            session.refresh_time,
            now,
        );
        let is_last = session.generation.saturating_sub(presented.generation) == 1;
        if is_last && step == Step::Stay(Stay::Reused) && self.0.doubts.contain(presented) {
            return Ok(Step::Stay(Stay::Repeat));
        }
        Ok(step)
    }

    async fn genuine_session(&self, presented: &Presented, now: Timestamp) -> Result<SessionState> {
        let state = self
            .0
            .store
            .find_session(&presented.session, now)
            .await?
            .ok_or(Error::RefreshTokenInvalid)?;
        if self.0.refresh.is_genuine(presented, &state.session.salt) {
            Ok(state)
        } else {
            Err(Error::RefreshTokenInvalid)
        }
    }

    /// Ends the session of a refresh token that was used again. Two parties hold the token, and it
    /// is unknown which of them is the user (RFC 9700 section 4.14.2).
    async fn end_reused(&self, state: &SessionState, now: Timestamp) -> Result<Error> {
        tracing::warn!(session = %state.session.id, user = %state.user.id, "a spent refresh token was used again; its session has been ended");
        self.revoke(&state.session.id, None, Ended::Reused, now)
            .await?;
        Ok(Error::RefreshTokenReused)
    }
}

/// How a refresh that failed is counted.
fn refusal(error: &Error) -> metrics::Refreshed {
    match error {
        Error::RefreshTokenReused => metrics::Refreshed::Reused,
        Error::RefreshTokenInvalid
        | Error::RefreshTokenExpired
        | Error::SessionRevoked
        | Error::Banned { .. }
        | Error::StoreRolledBack => metrics::Refreshed::Refused,
        _ => metrics::Refreshed::Failed,
    }
}

/// What a caller is told who presented the refresh token of such a session.
fn not_live(reason: NotLive) -> Error {
    match reason {
        NotLive::Banned(ban) => Error::Banned { until: ban.until },
        NotLive::Revoked => Error::SessionRevoked,
        NotLive::Expired => Error::RefreshTokenExpired,
    }
}

/// The device as the caller describes it now; what the caller left out is taken from `known`.
fn keep_known(new: &Device, known: Device) -> Device {
    let text = |new: &String, known: String| {
        if new.is_empty() { known } else { new.clone() }
    };
    Device {
        ip_address: text(&new.ip_address, known.ip_address),
        user_agent: text(&new.user_agent, known.user_agent),
        name: text(&new.name, known.name),
    }
}
