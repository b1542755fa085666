//! Creates, finds and lists accounts.

use super::Auth;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::model::account::{AdminClaim, DisplayName, LOCAL, Profile, Registered, User, Username};
use crate::model::email::Email;
use crate::model::ip_address::IpAddress;
use crate::model::page::{Page, PageRequest};
use crate::model::password::Password;
use crate::moderation::Limiter;
use crate::secret::{self, ExposeSecret as _, SecretString};

/// A local account to be made.
pub struct NewAccount {
    pub email: Email,
    pub password: Password,
    pub name: DisplayName,
    pub username: Username,
    /// The bootstrap token, or empty.
    pub invite_token: SecretString,
    pub address: IpAddress,
}

impl Auth {
    /// The minimum length of a new password, in characters.
    pub fn min_password_length(&self) -> usize {
        self.0.settings.min_password_length
    }

    /// Makes a local account; the first one becomes administrator.
    ///
    /// # Errors
    /// [`Error::Banned`], [`Error::LimitExceeded`], [`Error::RegistrationClosed`],
    /// [`Error::PasswordGuessable`], [`Error::EmailInUse`], [`Error::Busy`], and the store's
    /// errors.
    pub async fn register(&self, new: NewAccount, now: Timestamp) -> Result<User> {
        let (moderation, address) = (&self.0.moderation, new.address);
        // First of all, as at a login.
        let turn = self.0.passwords.enter()?;
        moderation.refuse_banned_stranger(address, now).await?;
        moderation.limit(Limiter::Register, address, now).await?;
        let claim = self.admin_claim(&new.invite_token)?;
        let profile = Profile {
            email: Some(new.email),
            email_verified: false,
            unverified_email: None,
            name: new.name.into_string(),
            username: new.username.into_string(),
            avatar_url: String::new(),
        };
        let user = User::new(UserId::new(now), LOCAL.to_owned(), profile, now);
        let hash = self.0.passwords.hash(turn, new.password, &user).await?;
        let user = match self.0.store.insert_local_user(user, &hash, claim).await? {
            Registered::Made(user) => user,
            Registered::EmailInUse => return Err(Error::EmailInUse),
            Registered::Closed => return Err(Error::RegistrationClosed),
        };
        tracing::info!(user = %user.id, role = user.role, "an account was made");
        Ok(user)
    }

    /// The user with an e-mail address.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], and the store's errors.
    pub async fn user_by_email(&self, email: &Email) -> Result<User> {
        self.0
            .store
            .find_user_by_email(email)
            .await?
            .ok_or(Error::UserNotFound)
    }

    /// Users, oldest first.
    pub async fn list_users(&self, page: &PageRequest) -> Result<Page<User>> {
        Ok(self.0.store.list_users(page).await?)
    }

    /// If a bootstrap token is configured, only whoever presents it becomes administrator, even if
    /// others registered before. It also opens a closed registration, for that one account.
    fn admin_claim(&self, given: &SecretString) -> Result<AdminClaim> {
        let matches = |token: &SecretString| {
            secret::equal(
                token.expose_secret().as_bytes(),
                given.expose_secret().as_bytes(),
            )
        };
        match (
            self.0.settings.bootstrap_token.as_ref().map(matches),
            self.0.settings.allow_registration,
        ) {
            (Some(true), true) => Ok(AdminClaim::Bootstrap),
            (Some(true), false) => Ok(AdminClaim::BootstrapOnly),
            (_, false) => Err(Error::RegistrationClosed),
            (None, true) => Ok(AdminClaim::First),
            (Some(false), true) => Ok(AdminClaim::None),
        }
    }
}
