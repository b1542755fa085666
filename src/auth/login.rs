//! Sign-in with a password.

use super::{Auth, SignedIn};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::metrics::Opened;
use crate::model::account::LOCAL;
use crate::model::email::Email;
use crate::model::ip_address::IpAddress;
use crate::model::password::Password;
use crate::model::session::{Authentication, Device};
use crate::moderation::Limiter;
use crate::token::OpenSession;

/// What a user presents to sign in.
pub struct Credentials {
    pub email: Email,
    pub password: Password,
    pub address: IpAddress,
    pub device: Device,
}

impl Auth {
    /// Refuses if users cannot sign in with a password (`ALLOW_EMAIL_LOGIN`).
    ///
    /// # Errors
    /// [`Error::LoginClosed`].
    pub fn require_password_login(&self) -> Result<()> {
        if self.0.settings.allow_email_login {
            Ok(())
        } else {
            Err(Error::LoginClosed)
        }
    }

    /// Signs a user in. An unknown account and a wrong password get the same refusal after the same
    /// time.
    ///
    /// # Errors
    /// [`Error::LoginClosed`], [`Error::LimitExceeded`], [`Error::CredentialsWrong`],
    /// [`Error::Banned`], [`Error::Busy`], and the store's errors.
    pub async fn login(
        &self,
        credentials: Credentials,
        caller: &str,
        now: Timestamp,
    ) -> Result<SignedIn> {
        self.require_password_login()?;
        let address = credentials.address;
        let signed_in = self.sign_in(credentials, caller, now).await;
        signed_in.inspect_err(|error| log_refused(error, caller, address))
    }

    async fn sign_in(
        &self,
        credentials: Credentials,
        caller: &str,
        now: Timestamp,
    ) -> Result<SignedIn> {
        let (moderation, address) = (&self.0.moderation, credentials.address);
        // First of all: a sign-in that is refused because of too many others costs the store
        // nothing.
        let turn = self.0.passwords.enter()?;
        moderation.refuse_banned_stranger(address, now).await?;
        moderation.limit(Limiter::Login, address, now).await?;
        let began = self.0.tokens.moment();
        let found = self.0.store.find_user_with_password(&credentials.email);
        let (user, hash) = found.await?.unzip();
        // For an unknown account, `verify` checks a dummy hash, so that the refusal takes as long
        // as for a known one.
        let verified = self
            .0
            .passwords
            .verify(turn, credentials.password, hash.flatten());
        if !verified.await? {
            return Err(Error::CredentialsWrong);
        }
        let user = user.ok_or(Error::CredentialsWrong)?;
        let open = OpenSession {
            user_id: user.id.clone(),
            way: Opened::Password,
            caller: caller.to_owned(),
            provider: LOCAL.to_owned(),
            authentication: Authentication::by("pwd"),
            device: credentials.device,
            ttl: None,
            request_id: None,
        };
        let tokens = self.0.tokens.open(open, &user, began, now).await?;
        tracing::info!(user = %user.id, session = %tokens.session_id, "a user signed in with a password");
        Ok(SignedIn { user, tokens })
    }
}

/// Logs a refused sign-in with its caller and network, never the credentials. Sign-ins that come too
/// many at once are left out, because their lines would be a flood of their own.
pub(super) fn log_refused(error: &Error, caller: &str, address: IpAddress) {
    if matches!(error, Error::Busy { .. }) {
        return;
    }
    tracing::info!(reason = error.reason().name(), caller, network = %address.network(), "a sign-in was refused");
}
