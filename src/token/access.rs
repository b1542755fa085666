//! Verifies access tokens. Verifying a token again reads only memory, until its session or user changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use super::outage::Outage;
use super::session_cache::{Sourced, TokenHash, VerifiedToken, with_keys};
use super::signer::{SignedWith, is_refused};
use super::signing_keys::Refused;
use super::{Inner, Tokens};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::cache::{Entry, Moment};
use crate::id::SessionId;
use crate::jose::{AccessClaims, Expected};
use crate::metrics::{Source, Verified};
use crate::model::session::{NotLive, SessionState};
use crate::secret;

/// How long callers may reuse an answer, and so how late they may learn of a ban or the end of a
/// session.
const CACHE_TTL: Duration = Duration::from_secs(5);

/// The state for a token that is bad without it.
const NOT_NEEDED: Sourced = (Source::Memory, Ok(None));
/// The state of a session that the store does not have.
const NOT_FOUND: Sourced = (Source::Store, Ok(None));

/// Whether a token of an audience is accepted.
pub type Accepts<'a> = dyn Fn(&str) -> bool + Sync + 'a;

/// The result of verifying a token.
#[derive(Debug)]
pub enum Verdict {
    /// The token is live.
    Active(LiveToken),
    /// The token is not live, and why.
    Inactive(Inactive),
}

/// A live token with its session and user as of now.
#[derive(Clone)]
pub struct LiveToken {
    token: Arc<VerifiedToken>,
    /// Its session and user.
    pub state: Arc<SessionState>,
    /// How long the answer may be reused.
    pub cache_ttl: Duration,
}

/// What is known of a token before its session's state is.
enum Checked {
    /// It was verified before.
    Known(Arc<VerifiedToken>),
    /// Its signature is good.
    Signed(Box<Signed>),
    /// It is not live, whatever its session's state.
    Bad(Inactive),
    /// Its key is not in memory.
    UnknownKey,
    /// Its key is not in memory and could not be read.
    Failed(Error),
}

/// A token whose signature is good.
struct Signed {
    hash: TokenHash,
    claims: AccessClaims,
    key: SignedWith,
    session: Arc<Entry<SessionState>>,
}

/// Why a token is not live. Any reason but `Invalid` is given only if the signature is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inactive {
    /// Malformed, not issued here, of a key that was revoked, or for another audience.
    Invalid,
    /// The token or its session has expired.
    Expired,
    /// Its session was ended.
    SessionRevoked,
    /// Its user is banned.
    Banned {
        /// The ban's end; `None` if it lasts until it is lifted.
        until: Option<Timestamp>,
    },
}

impl Checked {
    /// The session whose state decides.
    fn session(&self) -> Option<&Arc<Entry<SessionState>>> {
        match self {
            Self::Known(token) => Some(&token.session),
            Self::Signed(signed) => Some(&signed.session),
            Self::Bad(_) | Self::UnknownKey | Self::Failed(_) => None,
        }
    }

    /// What there is instead of a session's state.
    fn without_session(&self) -> Sourced {
        match self {
            Self::Failed(error) => (Source::Store, Err(error.clone())),
            _ => NOT_NEEDED,
        }
    }
}

impl LiveToken {
    /// The token's claims.
    pub fn claims(&self) -> &AccessClaims {
        &self.token.claims
    }

    /// Its session's entry in the cache.
    pub(super) fn session(&self) -> &Arc<Entry<SessionState>> {
        &self.token.session
    }
}

impl std::fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveToken")
            .field("session", &self.state.session.id)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Whether a token is live, and whose it is.
    ///
    /// # Errors
    /// Only if the store does not answer; a bad token is a verdict, not an error.
    pub async fn verify(
        &self,
        token: &str,
        audience: &str,
        outage: Outage,
        now: Timestamp,
    ) -> Result<Verdict> {
        self.verify_for(token, &|named| named == audience, outage, now)
            .await
    }

    /// As [`Tokens::verify`], for any audience that is accepted.
    ///
    /// # Errors
    /// As [`Tokens::verify`].
    pub async fn verify_for(
        &self,
        token: &str,
        audience: &Accepts<'_>,
        outage: Outage,
        now: Timestamp,
    ) -> Result<Verdict> {
        let mut checked = self.0.check(token, audience, now);
        if matches!(checked, Checked::UnknownKey) {
            checked = match Box::pin(self.0.signer.read_in_time()).await {
                Ok(()) => self.0.check(token, audience, now),
                Err(error) => Checked::Failed(error),
            };
        }
        let state = match checked.session() {
            Some(session) => {
                let state = self.0.sessions.state(session, outage, now).await;
                with_keys(state, self.0.signer.catch_up(outage).await)
            }
            None => checked.without_session(),
        };
        self.0.conclude(checked, state, audience, now)
    }

    /// The verdict on each token, or why it could not be looked up. The states that are not in
    /// memory are read with one statement.
    pub async fn verify_all(
        &self,
        tokens: &[String],
        audience: &str,
        now: Timestamp,
    ) -> Vec<Result<Verdict>> {
        let audience: &Accepts<'_> = &|named| named == audience;
        let mut checked = Vec::with_capacity(tokens.len());
        for token in tokens {
            let token = self.0.check(token, audience, now);
            if !matches!(token, Checked::Known(_)) {
                // Other calls go on between two signatures.
                yield_now().await;
            }
            checked.push(token);
        }
        if checked.iter().any(|one| matches!(one, Checked::UnknownKey)) {
            Box::pin(self.check_again(&mut checked, tokens, audience, now)).await;
        }
        let sessions = checked.iter().filter_map(Checked::session);
        let states = self.0.sessions.states(sessions, now).await;
        let keys = self.0.signer.catch_up(Outage::Remember).await;
        let conclude = |token: Checked| {
            let state = match token.session() {
                Some(session) => {
                    let state = states.get(session.id()).cloned().unwrap_or(NOT_FOUND);
                    with_keys(state, keys.clone())
                }
                None => token.without_session(),
            };
            self.0.conclude(token, state, audience, now)
        };
        checked.into_iter().map(conclude).collect()
    }

    /// Reads the keys once for all tokens of unknown ones, and checks these again.
    async fn check_again(
        &self,
        checked: &mut [Checked],
        tokens: &[String],
        audience: &Accepts<'_>,
        now: Timestamp,
    ) {
        let read = self.0.signer.read_in_time().await;
        for (checked, token) in checked.iter_mut().zip(tokens) {
            if matches!(checked, Checked::UnknownKey) {
                *checked = match &read {
                    Ok(()) => self.0.check(token, audience, now),
                    Err(error) => Checked::Failed(error.clone()),
                };
                yield_now().await;
            }
        }
    }

    /// The state of a live session, which counts as used, or why there is none. It comes from memory
    /// if it is up to date there.
    pub async fn live_session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<std::result::Result<Arc<SessionState>, NotLive>> {
        let inner = &self.0;
        let entry = inner.sessions.entry(id);
        let (_, state) = inner.sessions.state(&entry, Outage::Fail, now).await;
        let Some(state) = state? else {
            return Ok(Err(NotLive::Revoked));
        };
        let live = state.check_live(inner.last_seen.live_at(now), entry.note().last());
        if live.is_ok() {
            inner.sessions.note_use(&entry, &state, now);
        }
        Ok(live.map(|()| state))
    }

    /// This moment; take it before a state is read that is given to [`Tokens::issue`].
    pub fn moment(&self) -> Moment {
        self.0.sessions.moment()
    }
}

impl Inner {
    fn check(&self, token: &str, audience: &Accepts<'_>, now: Timestamp) -> Checked {
        let hash = secret::sha256(token.as_bytes());
        let known = self.sessions.find(&hash);
        // A key that was refused may count again after a restore.
        if let Some(token) = known.filter(|token| !is_refused(&token.key)) {
            return Checked::Known(token);
        }
        match self.check_signature(token, audience, now) {
            Ok((claims, key, session)) => Checked::Signed(Box::new(Signed {
                hash,
                claims,
                key,
                session: self.sessions.entry(&session),
            })),
            Err(bad) => bad,
        }
    }

    /// The verdict, which is counted.
    fn conclude(
        &self,
        checked: Checked,
        (source, state): Sourced,
        audience: &Accepts<'_>,
        now: Timestamp,
    ) -> Result<Verdict> {
        let verdict = state.map(|state| self.verdict(checked, state, audience, now));
        self.metrics.verified.of((counted(&verdict), source)).inc();
        verdict
    }

    fn verdict(
        &self,
        checked: Checked,
        state: Option<Arc<SessionState>>,
        audience: &Accepts<'_>,
        now: Timestamp,
    ) -> Verdict {
        match (checked, state) {
            (Checked::Bad(inactive), _) => Verdict::Inactive(inactive),
            (Checked::UnknownKey | Checked::Failed(_), _) => Verdict::Inactive(Inactive::Invalid),
            (Checked::Known(token), state) => self.judge(token, state, audience, now),
            (Checked::Signed(signed), Some(state)) => {
                let Signed {
                    hash,
                    claims,
                    key,
                    session,
                } = *signed;
                let token = self.sessions.insert(hash, claims, session, key, &state);
                self.judge(token, Some(state), audience, now)
            }
            // A token of an unknown session is not cached. The store was set back to an earlier
            // state, or the session's row was deleted.
            (Checked::Signed(signed), None) => Verdict::Inactive(if is_refused(&signed.key) {
                Inactive::Invalid
            } else {
                Inactive::SessionRevoked
            }),
        }
    }

    fn check_signature(
        &self,
        token: &str,
        audience: &Accepts<'_>,
        now: Timestamp,
    ) -> Result<(AccessClaims, SignedWith, SessionId), Checked> {
        if token
            .get(..7)
            .is_some_and(|start| start.eq_ignore_ascii_case("Bearer "))
        {
            tracing::debug!("an access token begins with `Bearer `: give the token alone");
        }
        // `judge` checks the audience at each call, because a cached token may be verified for
        // different audiences.
        let expected = Expected {
            issuer: &self.settings.issuer,
            audience: None,
        };
        let verified = self.signer.verify(token, &expected, now);
        let (claims, key) = verified.map_err(|refused| match refused {
            Refused::Expired(claims) if audience(&claims.aud) => Checked::Bad(Inactive::Expired),
            Refused::Expired(_) | Refused::Invalid => Checked::Bad(Inactive::Invalid),
            Refused::UnknownKey => Checked::UnknownKey,
        })?;
        let session = SessionId::parse(&claims.sid);
        let session = session.ok_or(Checked::Bad(Inactive::Invalid))?;
        Ok((claims, key, session))
    }

    /// The verdict on a token whose signature is good. If it is active, its session counts as used.
    fn judge(
        &self,
        token: Arc<VerifiedToken>,
        state: Option<Arc<SessionState>>,
        audience: &Accepts<'_>,
        now: Timestamp,
    ) -> Verdict {
        if !audience(&token.claims.aud) || is_refused(&token.key) {
            return Verdict::Inactive(Inactive::Invalid);
        }
        let Some(state) = state.filter(|state| state.user.id.as_str() == token.claims.sub) else {
            return Verdict::Inactive(Inactive::SessionRevoked);
        };
        let at = self.last_seen.live_at(now);
        if let Err(reason) = state.check_live(at, token.session.note().last()) {
            return Verdict::Inactive(match reason {
                NotLive::Banned(ban) => Inactive::Banned { until: ban.until },
                NotLive::Revoked => Inactive::SessionRevoked,
                NotLive::Expired => Inactive::Expired,
            });
        }
        let expire_time = token.claims.exp;
        if now >= expire_time {
            return Verdict::Inactive(Inactive::Expired);
        }
        self.sessions.note_use(&token.session, &state, now);
        Verdict::Active(LiveToken {
            token,
            state,
            cache_ttl: CACHE_TTL.min(now.until(expire_time)),
        })
    }
}

/// How a verdict is counted.
const fn counted(verdict: &Result<Verdict>) -> Verified {
    match verdict {
        Ok(Verdict::Active(_)) => Verified::Active,
        Ok(Verdict::Inactive(Inactive::Invalid)) => Verified::Invalid,
        Ok(Verdict::Inactive(Inactive::Expired)) => Verified::Expired,
        Ok(Verdict::Inactive(Inactive::SessionRevoked)) => Verified::SessionRevoked,
        Ok(Verdict::Inactive(Inactive::Banned { .. })) => Verified::Banned,
        Err(_) => Verified::Failed,
    }
}
