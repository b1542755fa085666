//! A signed-in user proves again who they are.

use super::Auth;
use super::login::log_refused;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::model::ip_address::IpAddress;
use crate::model::password::Password;
use crate::model::session::Authentication;
use crate::moderation::Limiter;
use crate::token::TokenPair;

/// What a signed-in user presents.
pub struct Proof {
    pub access_token: String,
    /// What the token must be good for, if it has scopes: the permission of the called RPC.
    pub scope: &'static str,
    pub password: Password,
    pub address: IpAddress,
}

impl Auth {
    /// New tokens of the session of an access token, with now as the time of the authentication. The
    /// limits are those of a sign-in, because a stolen access token must not let anybody guess the
    /// password.
    ///
    /// # Errors
    /// [`Error::AccessTokenInvalid`] also if another caller opened the session,
    /// [`Error::ScopeInsufficient`], [`Error::CredentialsWrong`] also if the user has no password, [`Error::LimitExceeded`],
    /// [`Error::Banned`], [`Error::Busy`], and the store's errors.
    pub async fn reauthenticate(
        &self,
        proof: Proof,
        caller: &str,
        now: Timestamp,
    ) -> Result<TokenPair> {
        let address = proof.address;
        let proven = self.prove(proof, caller, now).await;
        self.0.tokens.count_reauthentication(proven.as_ref().err());
        proven.inspect_err(|error| log_refused(error, caller, address))
    }

    async fn prove(&self, proof: Proof, caller: &str, now: Timestamp) -> Result<TokenPair> {
        let (moderation, address) = (&self.0.moderation, proof.address);
        // First of all, as at a sign-in.
        let turn = self.0.passwords.enter()?;
        moderation.refuse_banned_stranger(address, now).await?;
        let state = self.acting_by_token(&proof.access_token, proof.scope, now);
        let state = state.await?;
        let session = &state.session;
        if session.caller != caller {
            return Err(Error::AccessTokenInvalid);
        }
        moderation.limit(Limiter::Login, address, now).await?;
        let hash = self.0.store.find_password(&session.user_id).await?;
        let verified = self.0.passwords.verify(turn, proof.password, hash);
        if !verified.await? {
            return Err(Error::CredentialsWrong);
        }
        let by = Authentication::by("pwd");
        let pair = self.0.tokens.reauthenticate(&session.id, by).await?;
        tracing::info!(user = %session.user_id, session = %session.id, "a user authenticated again with a password");
        Ok(pair)
    }
}
