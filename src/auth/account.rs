//! Accounts: made, found and listed.

use super::Auth;
use super::address::canonical_email;
use super::policy::{canonical_username, check_name, check_password};
use crate::clock::Timestamp;
use crate::error::{Error, Result, Violations};
use crate::id::UserId;
use crate::moderation::{Address, Limiter};
use crate::secret::{self, ExposeSecret as _, SecretString};
use crate::store::users::{AdminClaim, NewUser, Registered, User};

/// What a local account is made from, as the caller gave it.
pub struct NewAccount {
    pub email: String,
    pub password: SecretString,
    pub name: String,
    pub username: String,
    /// The bootstrap token, or empty.
    pub invite_token: SecretString,
    /// The end user's address, or what is wrong with it.
    pub address: Result<Address, &'static str>,
}

/// The fields once they are good.
struct Checked {
    email: String,
    username: String,
    address: Address,
}

impl Auth {
    /// Makes a local account; the first one becomes administrator.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all fields, or with a password that is too easily guessed; [`Error::LimitExceeded`], [`Error::Banned`], [`Error::RegistrationClosed`],
    /// [`Error::EmailInUse`], [`Error::Busy`]; the store's.
    pub async fn register(&self, new: NewAccount, now: Timestamp) -> Result<User> {
        let checked = self.check(&new)?;
        self.0
            .moderation
            .refuse_banned(None, Some(checked.address), now)
            .await?;
        self.0
            .moderation
            .limit(Limiter::Register, checked.address, now)
            .await?;
        let claim = self.admin_claim(&new.invite_token)?;
        let names = [
            checked.email.clone(),
            new.name.clone(),
            checked.username.clone(),
        ];
        let hash = self.0.passwords.hash(new.password, names).await?;
        let user = NewUser {
            id: UserId::new(now),
            email: Some(checked.email),
            email_verified: false,
            name: new.name,
            username: checked.username,
            provider: "local".to_owned(),
            avatar_url: String::new(),
            create_time: now,
        };
        let user = match self.0.store.insert_local_user(user, &hash, claim).await? {
            Registered::Made(user) => user,
            Registered::EmailInUse => return Err(Error::EmailInUse),
            Registered::Closed => return Err(Error::RegistrationClosed),
        };
        tracing::info!(user = %user.id, role = user.role, "an account was made");
        Ok(user)
    }

    /// The user with an e-mail address, in any of its forms.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::UserNotFound`]; the store's.
    pub async fn user_by_email(&self, email: &str) -> Result<User> {
        let email =
            canonical_email(email).map_err(|description| Error::invalid("email", description))?;
        self.0
            .store
            .find_user_by_email(&email)
            .await?
            .ok_or(Error::UserNotFound)
    }

    /// At most `size` users made after (`create_time`, `id`), oldest first, and whether there are more.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_users(&self, after: (i64, &str), size: usize) -> Result<(Vec<User>, bool)> {
        let limit = i64::try_from(size).unwrap_or(i64::MAX).saturating_add(1);
        let mut users = self.0.store.list_users(after, limit).await?;
        let more = users.len() > size;
        users.truncate(size);
        Ok((users, more))
    }

    fn check(&self, new: &NewAccount) -> Result<Checked> {
        let mut violations = Violations::default();
        let email = violations.check("email", canonical_email(&new.email));
        violations.check(
            "password",
            check_password(&new.password, self.0.settings.min_password_length),
        );
        violations.check("name", check_name(&new.name));
        let username = violations.check("username", canonical_username(&new.username));
        let address = violations.check("client.ip_address", new.address);
        match (email, username, address) {
            (Some(email), Some(username), Some(address)) => violations.finish().map(|()| Checked {
                email,
                username,
                address,
            }),
            _ => Err(violations.into_error()),
        }
    }

    /// Where a bootstrap token is configured, only it makes an administrator, and holds whoever registered before. It also opens a closed
    /// registration, for that one account.
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
