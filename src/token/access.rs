//! Access tokens: minted for a session. Verifying a token again reads only memory, until its session or
//! user changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;

use super::session_cache::{Outage, Sourced, TokenHash, VerifiedToken};
use super::{Inner, TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::feed::cache::{Entry, Moment};
use crate::id::SessionId;
use crate::jose::{self, AccessClaims, Expected, MAX_LIFETIME, Rejected};
use crate::metrics::{Source, Verified};
use crate::model::session::{NotLive, Session, SessionState};
use crate::secret;

/// How long callers may reuse an answer, and so how late they may learn of a ban or the end of a
/// session.
const CACHE_TTL: Duration = Duration::from_secs(5);

const SECOND: Duration = Duration::from_secs(1);

/// The state for a token that is bad without it.
const NOT_NEEDED: Sourced = (Source::Memory, Ok(None));
/// The state of a session that the store does not have.
const NOT_FOUND: Sourced = (Source::Store, Ok(None));

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
    Signed(TokenHash, Box<AccessClaims>, Arc<Entry<SessionState>>),
    /// It is not live, whatever its session's state.
    Bad(Inactive),
}

/// Why a token is not live. Any reason but `Invalid` is given only if the signature is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inactive {
    /// Malformed, not issued here, or for another audience.
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
            Self::Signed(_, _, session) => Some(session),
            Self::Bad(_) => None,
        }
    }
}

impl LiveToken {
    /// The token's claims.
    pub fn claims(&self) -> &AccessClaims {
        &self.token.claims
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
        let checked = self.0.check(token, audience, now);
        let state = match checked.session() {
            Some(session) => self.0.sessions.state(session, outage, now).await,
            None => NOT_NEEDED,
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
        let mut checked = Vec::with_capacity(tokens.len());
        for token in tokens {
            let token = self.0.check(token, audience, now);
            if !matches!(token, Checked::Known(_)) {
                // Other calls go on between two signatures.
                yield_now().await;
            }
            checked.push(token);
        }
        let sessions = checked.iter().filter_map(Checked::session);
        let states = self.0.sessions.states(sessions, now).await;
        let conclude = |token: Checked| {
            let state = match token.session() {
                Some(session) => states.get(session.id()).cloned().unwrap_or(NOT_FOUND),
                None => NOT_NEEDED,
            };
            self.0.conclude(token, state, audience, now)
        };
        checked.into_iter().map(conclude).collect()
    }

    /// A session's state, from memory if it is up to date there; `None` if there is no such session.
    pub async fn session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionState>>> {
        let entry = self.0.sessions.entry(id);
        let (_, state) = self.0.sessions.state(&entry, Outage::Fail, now).await;
        state
    }

    /// This moment; take it before a state is read that is given to [`Tokens::issue`].
    pub fn moment(&self) -> Moment {
        self.0.sessions.moment()
    }

    /// The token pair of a live session at its current generation, with a new access token. The
    /// token and the state, whose reading began at `began`, are remembered, so the token's first
    /// use checks no signature and does not read the store.
    pub fn issue(&self, state: SessionState, began: Moment, now: Timestamp) -> TokenPair {
        let issued = now.max(state.session.create_time);
        self.issue_at(state, began, issued, issued)
    }

    /// As [`Tokens::issue`], for an answer that is given once more. Nothing locks the session, which
    /// may be ended right now, so the token says that it was issued when the session was opened or
    /// refreshed: all that was issued later counts as a token of a later session.
    pub(super) fn issue_again(
        &self,
        state: SessionState,
        began: Moment,
        now: Timestamp,
    ) -> TokenPair {
        let session = &state.session;
        let issued = session.refresh_time.min(now).max(session.create_time);
        self.issue_at(state, began, issued, now.max(issued))
    }

    fn issue_at(
        &self,
        state: SessionState,
        began: Moment,
        issued: Timestamp,
        now: Timestamp,
    ) -> TokenPair {
        let session = &state.session;
        let access_expire_time = now
            .plus(shortened(self.0.settings.access_ttl, secret::random()))
            .min(session.expire_time)
            .min(issued.plus(MAX_LIFETIME))
            .whole_secs();
        let claims = self.0.claims(session, access_expire_time, issued);
        let pair = TokenPair {
            access_token: self.0.keys.active().sign(&claims),
            refresh_token: self
                .0
                .refresh
                .issue(&session.id, session.generation, &session.salt),
            access_expire_time,
            refresh_expire_time: session.expire_time,
            session_id: session.id.clone(),
        };
        let hash = secret::sha256(pair.access_token.as_bytes());
        let state = Arc::new(state);
        let entry = self.0.sessions.keep(Arc::clone(&state), began);
        self.0.sessions.insert(hash, claims, entry, &state);
        pair
    }
}

impl Inner {
    /// A token's claims, in whole seconds, as they are read from it again.
    fn claims(&self, session: &Session, expire_time: Timestamp, issued: Timestamp) -> AccessClaims {
        AccessClaims {
            iss: self.settings.issuer.clone(),
            sub: session.user_id.to_string(),
            aud: self.settings.audience.clone(),
            sid: session.id.to_string(),
            jti: hex::encode(secret::random::<16>()),
            // A token expires after it was issued.
            iat: issued.whole_secs().min(expire_time.minus(SECOND)),
            exp: expire_time,
            auth_time: session.auth_time.whole_secs(),
            amr: session.amr.split(' ').map(str::to_owned).collect(),
            client_id: session.caller.clone(),
            id: None,
            username: None,
            provider: None,
            email: None,
        }
    }

    fn check(&self, token: &str, audience: &str, now: Timestamp) -> Checked {
        let hash = secret::sha256(token.as_bytes());
        if let Some(token) = self.sessions.find(&hash) {
            return Checked::Known(token);
        }
        match self.check_signature(token, audience, now) {
            Ok((claims, session)) => {
                Checked::Signed(hash, Box::new(claims), self.sessions.entry(&session))
            }
            Err(inactive) => Checked::Bad(inactive),
        }
    }

    /// The verdict, which is counted.
    fn conclude(
        &self,
        checked: Checked,
        (source, state): Sourced,
        audience: &str,
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
        audience: &str,
        now: Timestamp,
    ) -> Verdict {
        match (checked, state) {
            (Checked::Bad(inactive), _) => Verdict::Inactive(inactive),
            (Checked::Known(token), state) => judge(token, state, audience, now),
            (Checked::Signed(hash, claims, session), Some(state)) => {
                let token = self.sessions.insert(hash, *claims, session, &state);
                judge(token, Some(state), audience, now)
            }
            // A token of an unknown session is not cached. The store was set back to an earlier
            // state, or the session's row was deleted.
            (Checked::Signed(..), None) => Verdict::Inactive(Inactive::SessionRevoked),
        }
    }

    fn check_signature(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<(AccessClaims, SessionId), Inactive> {
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
        let claims = jose::verify_access(token, |kid| self.keys.find(kid), &expected, now)
            .map_err(|rejected| match rejected {
                Rejected::Expired(claims) if claims.aud == audience => Inactive::Expired,
                Rejected::Expired(_) | Rejected::Invalid => Inactive::Invalid,
            })?;
        let session = SessionId::parse(&claims.sid).ok_or(Inactive::Invalid)?;
        Ok((claims, session))
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

/// A token's lifetime, shortened by up to a twentieth, in whole seconds: tokens that were issued at the
/// same time are then not refreshed at the same time.
fn shortened(ttl: Duration, random: [u8; 4]) -> Duration {
    let most = ttl.as_secs() / 20;
    let random = u64::from(u32::from_be_bytes(random));
    ttl.saturating_sub(Duration::from_secs(random % (most + 1)))
}

fn judge(
    token: Arc<VerifiedToken>,
    state: Option<Arc<SessionState>>,
    audience: &str,
    now: Timestamp,
) -> Verdict {
    if token.claims.aud != audience {
        return Verdict::Inactive(Inactive::Invalid);
    }
    let Some(state) = state.filter(|state| state.user.id.as_str() == token.claims.sub) else {
        return Verdict::Inactive(Inactive::SessionRevoked);
    };
    if let Err(reason) = state.check_live(now) {
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
    Verdict::Active(LiveToken {
        token,
        state,
        cache_ttl: CACHE_TTL.min(now.until(expire_time)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_shortened_by_a_twentieth_at_most_and_by_whole_seconds() {
        let ttl = Duration::from_mins(15);
        let seconds = |n: u32| shortened(ttl, n.to_be_bytes()).as_secs();
        assert_eq!([0, 1, 45, 46, 91].map(seconds), [900, 899, 855, 900, 855]);
        for (ttl, shortest) in [(1, 1), (19, 19), (20, 19), (40, 38)] {
            let ttl = Duration::from_secs(ttl);
            let lives = (0..100_u32).map(|n| shortened(ttl, n.to_be_bytes()));
            assert_eq!(lives.min(), Some(Duration::from_secs(shortest)));
        }
    }
}
