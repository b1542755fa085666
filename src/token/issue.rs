//! Issues the tokens of a session.

use std::sync::Arc;
use std::time::Duration;

use super::{Inner, TokenPair, Tokens};
use crate::clock::Timestamp;
use crate::feed::cache::{Entry, Moment};
use crate::jose::{AccessClaims, MAX_LIFETIME};
use crate::model::email::Email;
use crate::model::session::{Authentication, Session, SessionState};
use crate::secret;

const SECOND: Duration = Duration::from_secs(1);

impl Tokens {
    /// The token pair of a live session at its current generation, with a new access token. The
    /// token and the state, whose reading began at `began`, are remembered, so the token's first
    /// use checks no signature and does not read the store.
    pub fn issue(&self, state: SessionState, began: Moment, now: Timestamp) -> TokenPair {
        let issued = now.max(state.session.create_time);
        self.issue_at(state, began, At::new(issued))
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
        let at = At::again(&state.session, now);
        self.issue_at(state, began, at)
    }

    /// As [`Tokens::issue_again`], for a user who has just authenticated again.
    pub(super) fn issue_proven(
        &self,
        state: SessionState,
        began: Moment,
        by: Authentication,
        now: Timestamp,
    ) -> TokenPair {
        let mut at = At::again(&state.session, now);
        at.proven = Some(by);
        self.issue_at(state, began, at)
    }

    fn issue_at(&self, state: SessionState, began: Moment, at: At) -> TokenPair {
        let session = &state.session;
        let At {
            issued,
            now,
            proven,
        } = at;
        let access_expire_time = now
            .plus(shortened(self.0.settings.access_ttl, secret::random()))
            .min(session.expire_time)
            .min(issued.plus(MAX_LIFETIME))
            .whole_secs();
        let mut claims = self.0.claims(&state, access_expire_time, issued);
        if let Some(by) = proven {
            claims.auth_time = now.whole_secs();
            claims.amr = amr(&by.amr);
        }
        let state = Arc::new(state);
        let entry = self.0.sessions.keep(Arc::clone(&state), began);
        let session = &state.session;
        TokenPair {
            access_token: self.0.sign(claims, entry, &state),
            refresh_token: self
                .0
                .refresh
                .issue(&session.id, session.generation, &session.salt),
            access_expire_time,
            refresh_expire_time: session.expire_time,
            session_id: session.id.clone(),
        }
    }
}

/// When a token is issued, and what it says of that.
struct At {
    /// What its `iat` says.
    issued: Timestamp,
    now: Timestamp,
    /// How its user has authenticated since the session was opened.
    proven: Option<Authentication>,
}

impl At {
    fn new(issued: Timestamp) -> Self {
        Self {
            issued,
            now: issued,
            proven: None,
        }
    }

    fn again(session: &Session, now: Timestamp) -> Self {
        let issued = session.refresh_time.min(now).max(session.create_time);
        Self {
            issued,
            now: now.max(issued),
            proven: None,
        }
    }
}

fn amr(methods: &str) -> Vec<String> {
    methods.split(' ').map(str::to_owned).collect()
}

impl Inner {
    /// Signs a token of the session with this entry and state, and remembers it as verified.
    pub(super) fn sign(
        &self,
        claims: AccessClaims,
        session: Arc<Entry<SessionState>>,
        state: &SessionState,
    ) -> String {
        let (token, key) = self.signer.sign(&claims);
        let hash = secret::sha256(token.as_bytes());
        self.sessions.insert(hash, claims, session, key, state);
        token
    }

    /// A token's claims, in whole seconds, as they are read from it again.
    pub(super) fn claims(
        &self,
        state: &SessionState,
        expire_time: Timestamp,
        issued: Timestamp,
    ) -> AccessClaims {
        let (session, user) = (&state.session, &state.user);
        let librechats = |text: &str| self.signer.is_librechats().then(|| text.to_owned());
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
            amr: amr(&session.amr),
            client_id: session.caller.clone(),
            id: librechats(user.id.as_str()),
            username: librechats(&user.username),
            provider: librechats(&user.provider),
            email: librechats(user.email.as_ref().map_or("", Email::as_str)),
            scope: None,
            act: None,
        }
    }
}

/// A token's lifetime, shortened by up to a twentieth, in whole seconds: tokens that were issued at the
/// same time are then not refreshed at the same time.
fn shortened(ttl: Duration, random: [u8; 4]) -> Duration {
    let most = ttl.as_secs() / 20;
    let random = u64::from(u32::from_be_bytes(random));
    ttl.saturating_sub(Duration::from_secs(random % (most + 1)))
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
