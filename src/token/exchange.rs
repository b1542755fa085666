//! Exchanges an access token for a narrower one of the same session (RFC 8693).

use std::sync::Arc;
use std::time::Duration;

use super::Tokens;
use super::access::LiveToken;
use crate::clock::Timestamp;
use crate::jose::{AccessClaims, Actor};
use crate::metrics::Exchange;

/// What a token is to be good for. The caller has checked that the other token is good for it too.
#[derive(Debug)]
pub struct Narrowed {
    pub audience: String,
    /// At least one.
    pub scopes: Vec<String>,
    /// How long, at most; `None` means as long as possible.
    pub ttl: Option<Duration>,
}

/// A token that was exchanged. It has no `Debug`, so that it cannot be printed.
pub struct Exchanged {
    pub access_token: String,
    pub expire_time: Timestamp,
    pub scopes: Vec<String>,
}

impl Tokens {
    /// A token of the same session for `actor`, which ends with the other one at the latest.
    pub fn narrow(
        &self,
        live: &LiveToken,
        narrowed: Narrowed,
        actor: &str,
        now: Timestamp,
    ) -> Exchanged {
        let (before, session) = (live.claims(), &live.state.session);
        let longest = self.0.settings.access_ttl;
        let ttl = narrowed.ttl.map_or(longest, |ttl| ttl.min(longest));
        let expire_time = now.plus(ttl).min(before.exp).min(session.expire_time);
        let expire_time = expire_time.whole_secs();
        let claims = AccessClaims {
            aud: narrowed.audience,
            client_id: actor.to_owned(),
            scope: Some(narrowed.scopes.join(" ")),
            act: Some(Box::new(Actor {
                sub: actor.to_owned(),
                act: before.act.clone(),
            })),
            // What the user has proven since is not this token's to tell.
            auth_time: before.auth_time,
            amr: before.amr.clone(),
            // The session may be ended right now, and all that was issued after that counts as a token
            // of a later session. So the token says that it was issued when the other one was.
            ..self.0.claims(&live.state, expire_time, before.iat)
        };
        let entry = Arc::clone(live.session());
        Exchanged {
            access_token: self.0.sign(claims, entry, &live.state),
            expire_time,
            scopes: narrowed.scopes,
        }
    }

    /// Counts a token that was presented to be exchanged.
    pub fn note_exchanged(&self, outcome: Exchange) {
        self.0.metrics.exchanged.of(outcome).inc();
    }
}
