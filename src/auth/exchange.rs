//! Exchanges a user's access token for a narrower one.

use super::Auth;
use super::subject::admitted;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::jose::{AccessClaims, MAX_ACTORS};
use crate::metrics::Exchange as Outcome;
use crate::token::{Accepts, Exchanged, Narrowed, Outage};

/// A token, and what is wanted for it.
pub struct Exchange {
    pub access_token: String,
    /// What the token must be good for, if it has scopes: the permission of the called RPC.
    pub scope: &'static str,
    pub narrowed: Narrowed,
}

impl Auth {
    /// Exchanges a live token for one that is good for less. `accepts` says of which audiences it may
    /// be.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`]; [`Error::ScopeInsufficient`] if the token may not be exchanged, or
    /// is not good for what is wanted; [`Error::ExchangedTooOften`]; [`Error::Banned`]; and the store's
    /// errors.
    pub async fn exchange(
        &self,
        exchange: Exchange,
        accepts: &Accepts<'_>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Exchanged> {
        let exchanged = self.try_exchange(exchange, accepts, actor, now).await;
        let outcome = match &exchanged {
            Ok(_) => Outcome::Exchanged,
            Err(error) if error.reason().kind() == Kind::Unavailable => Outcome::Failed,
            Err(_) => Outcome::Refused,
        };
        self.0.tokens.note_exchanged(outcome);
        exchanged
    }

    async fn try_exchange(
        &self,
        exchange: Exchange,
        accepts: &Accepts<'_>,
        actor: &str,
        now: Timestamp,
    ) -> Result<Exchanged> {
        let Exchange {
            access_token,
            scope,
            narrowed,
        } = exchange;
        let tokens = &self.0.tokens;
        let verdict = tokens.verify_for(&access_token, accepts, Outage::Fail, now);
        let live = admitted(verdict.await?, scope)?;
        check(live.claims(), &narrowed.scopes)?;
        let audience = narrowed.audience.clone();
        let exchanged = tokens.narrow(&live, narrowed, actor, now);
        let (user, session) = (&live.state.user.id, &live.state.session.id);
        let scopes = exchanged.scopes.join(" ");
        tracing::info!(%user, %session, caller = actor, audience, scopes, "a caller exchanged a user's access token");
        Ok(exchanged)
    }
}

/// Whether a token is good for these scopes, and may be handed on once more.
fn check(claims: &AccessClaims, wanted: &[String]) -> Result<()> {
    if let Some(missing) = wanted.iter().find(|scope| !claims.is_good_for(scope)) {
        return Err(Error::ScopeInsufficient(missing.clone()));
    }
    let actors = claims.act.as_ref().map_or(0, |act| act.chain().count());
    if actors < MAX_ACTORS {
        Ok(())
    } else {
        Err(Error::ExchangedTooOften)
    }
}
