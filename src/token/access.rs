//! Access tokens: minted from a session, verified from memory in the steady state.

use std::sync::Arc;
use std::time::Duration;

use super::memory::{Remembered, Slot};
use super::{Inner, TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::jose::{self, AccessClaims, Expected, Rejected};
use crate::secret;
use crate::store::sessions::SessionState;

/// For so long an answer may be reused without asking again.
const CACHEABLE: Duration = Duration::from_secs(5);

/// What a token turned out to be.
#[derive(Debug)]
pub enum Verdict {
    /// It is live.
    Active(LiveToken),
    /// It is not.
    Inactive(Inactive),
}

/// A live token with its session and user as of now.
#[derive(Clone)]
pub struct LiveToken {
    token: Arc<Remembered>,
    /// Its session.
    pub session: Arc<SessionState>,
    /// Until when the answer may be reused.
    pub cacheable_until: Timestamp,
}

/// Why a token is not live; anything but `Invalid` is said only after a valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inactive {
    /// Malformed, not from here, or for another audience.
    Invalid,
    /// Past its end.
    Expired,
    /// Its session was ended.
    SessionRevoked,
    /// Its user is banned.
    Banned {
        /// The ban's end; `None` where it lasts until lifted.
        until: Option<Timestamp>,
    },
}

impl LiveToken {
    /// What the token says.
    #[must_use]
    pub fn claims(&self) -> &AccessClaims {
        &self.token.claims
    }
}

impl std::fmt::Debug for LiveToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveToken")
            .field("session", &self.session.id)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Whether a token is live, and whose it is. An empty `audience` means our own.
    ///
    /// # Errors
    /// Only where the store does not answer; a bad token is a verdict.
    pub async fn verify(&self, token: &str, audience: &str, now: Timestamp) -> Result<Verdict> {
        let audience = if audience.is_empty() {
            &self.0.settings.audience
        } else {
            audience
        };
        let hash = secret::sha256(token.as_bytes());
        let elapsed = self.0.clock.elapsed();
        let remembered = match self.0.memory.recall(&hash) {
            Some(remembered) => remembered,
            None => match self.0.check_signature(token, audience, now) {
                Err(inactive) => return Ok(Verdict::Inactive(inactive)),
                Ok((claims, session)) => {
                    let slot = self.0.memory.slot(&session);
                    // An unknown session is not worth remembering: the store was set back, or the session's rows are gone.
                    if self.0.state(&slot, now).await?.is_none() {
                        return Ok(Verdict::Inactive(Inactive::SessionRevoked));
                    }
                    self.0.memory.remember(hash, claims, slot)
                }
            },
        };
        let fresh = self.0.memory.fresh(&remembered.slot, elapsed);
        let state = match fresh {
            Some(state) => Some(state),
            None => self.0.state(&remembered.slot, now).await?,
        };
        Ok(judge(remembered, state, audience, now))
    }

    /// A session's state, from memory where a token of it is remembered and the state fresh; `None` where there is no such session.
    ///
    /// # Errors
    /// The store's.
    pub async fn session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<Arc<SessionState>>> {
        let slot = self.0.memory.slot(id);
        self.0.state(&slot, now).await
    }

    /// The pair of a session at a generation, with a new access token.
    #[must_use]
    pub(super) fn pair(&self, session: &Pairing<'_>, now: Timestamp) -> TokenPair {
        let access_expire_time = now
            .plus(self.0.settings.access_ttl)
            .min(session.expire_time);
        TokenPair {
            access_token: self.0.keys.active().sign(&self.0.claims(
                session,
                access_expire_time,
                now,
            )),
            refresh_token: self
                .0
                .refresh
                .issue(session.id, session.generation, session.salt),
            access_expire_time: Timestamp::from_secs(access_expire_time.secs()),
            refresh_expire_time: session.expire_time,
            session_id: session.id.clone(),
        }
    }
}

/// What a pair is made from.
pub(super) struct Pairing<'a> {
    pub id: &'a SessionId,
    pub user_id: &'a UserId,
    pub caller: &'a str,
    pub amr: &'a str,
    pub salt: &'a [u8],
    pub generation: i64,
    pub auth_time: Timestamp,
    pub expire_time: Timestamp,
}

impl Inner {
    fn claims(
        &self,
        session: &Pairing<'_>,
        expire_time: Timestamp,
        now: Timestamp,
    ) -> AccessClaims {
        AccessClaims {
            iss: self.settings.issuer.clone(),
            sub: session.user_id.to_string(),
            aud: self.settings.audience.clone(),
            sid: session.id.to_string(),
            jti: hex::encode(secret::random::<16>()),
            iat: now,
            exp: expire_time,
            auth_time: session.auth_time,
            amr: session.amr.split(' ').map(str::to_owned).collect(),
            client_id: session.caller.to_owned(),
        }
    }

    fn check_signature(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<(AccessClaims, SessionId), Inactive> {
        // A live token's audience is judged at each call: it may be asked about for several.
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

    /// The session's state from memory or, once for all who ask at a time, from the store.
    async fn state(&self, slot: &Slot, now: Timestamp) -> Result<Option<Arc<SessionState>>> {
        let _loading = slot.loading.lock().await;
        if let Some(state) = self.memory.fresh(slot, self.clock.elapsed()) {
            return Ok(Some(state));
        }
        let mark = self.memory.mark(slot);
        let read_at = self.clock.elapsed();
        let Some(state) = self.store.find_session(slot.id(), now).await? else {
            return Ok(None);
        };
        let state = Arc::new(state);
        self.memory.keep(slot, mark, &state, read_at);
        Ok(Some(state))
    }
}

fn judge(
    token: Arc<Remembered>,
    state: Option<Arc<SessionState>>,
    audience: &str,
    now: Timestamp,
) -> Verdict {
    if token.claims.aud != audience {
        return Verdict::Inactive(Inactive::Invalid);
    }
    let Some(session) = state.filter(|session| session.user.id.as_str() == token.claims.sub) else {
        return Verdict::Inactive(Inactive::SessionRevoked);
    };
    if let Some(ban) = session.ban.filter(|ban| ban.in_force(now)) {
        return Verdict::Inactive(Inactive::Banned { until: ban.until });
    }
    if session.revoked {
        return Verdict::Inactive(Inactive::SessionRevoked);
    }
    let expire_time = token.claims.exp;
    if now >= expire_time || now >= session.expire_time {
        return Verdict::Inactive(Inactive::Expired);
    }
    Verdict::Active(LiveToken {
        token,
        session,
        cacheable_until: now.plus(CACHEABLE).min(expire_time),
    })
}
