//! Sign-in with a password.

use super::address::canonical_email;
use super::policy::MAX_PASSWORD;
use super::{Auth, SignedIn};
use crate::clock::Timestamp;
use crate::error::{Error, Result, Violations};
use crate::moderation::{Address, Limiter};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::store::sessions::Client;
use crate::token::OpenSession;

/// What a user shows to sign in.
pub struct Credentials {
    pub email: String,
    pub password: SecretString,
    /// The end user's address, or what is wrong with it.
    pub address: Result<Address, &'static str>,
    pub client: Client,
}

impl Auth {
    /// Signs a user in. Until the password is right, all refusals look alike and take as long.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::LoginClosed`], [`Error::LimitExceeded`], [`Error::CredentialsWrong`], [`Error::Banned`],
    /// [`Error::Busy`]; the store's.
    pub async fn login(
        &self,
        credentials: Credentials,
        caller: &str,
        now: Timestamp,
    ) -> Result<SignedIn> {
        if !self.0.settings.allow_email_login {
            return Err(Error::LoginClosed);
        }
        let (email, address) = check(&credentials)?;
        let signed_in = self.sign_in(email, address, credentials, caller, now).await;
        signed_in.inspect_err(|error| log_refused(error, caller, address))
    }

    async fn sign_in(
        &self,
        email: String,
        address: Address,
        credentials: Credentials,
        caller: &str,
        now: Timestamp,
    ) -> Result<SignedIn> {
        self.0
            .moderation
            .refuse_banned(None, Some(address), now)
            .await?;
        self.0
            .moderation
            .limit(Limiter::Login, address, now)
            .await?;
        let (user, hash) = self.0.store.find_user_with_password(&email).await?.unzip();
        if !self
            .0
            .passwords
            .verify(credentials.password, hash.flatten())
            .await?
        {
            return Err(Error::CredentialsWrong);
        }
        let user = user.ok_or(Error::CredentialsWrong)?;
        let open = OpenSession {
            user_id: user.id.clone(),
            caller: caller.to_owned(),
            provider: "local".to_owned(),
            amr: "pwd",
            client: credentials.client,
            ttl: None,
            request_id: None,
        };
        let tokens = self.0.tokens.open(open, now).await?;
        tracing::info!(user = %user.id, session = %tokens.session_id, "a user signed in with a password");
        Ok(SignedIn { user, tokens })
    }
}

/// A refused sign-in shows in the log by who brought it and from where, never by what was tried.
pub(super) fn log_refused(error: &Error, caller: &str, address: Address) {
    tracing::info!(reason = error.reason(), caller, network = %address.network(), "a sign-in was refused");
}

fn check(credentials: &Credentials) -> Result<(String, Address)> {
    let mut violations = Violations::default();
    let email = violations.check("email", canonical_email(&credentials.email));
    let shaped = (1..=MAX_PASSWORD).contains(&credentials.password.expose_secret().len());
    violations.check(
        "password",
        shaped.then_some(()).ok_or("must have 1 to 1,024 bytes"),
    );
    let address = violations.check("client.ip_address", credentials.address);
    match (email, address) {
        (Some(email), Some(address)) => violations.finish().map(|()| (email, address)),
        _ => Err(violations.into_error()),
    }
}
