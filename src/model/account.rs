//! Accounts, and the names that they carry.

use super::email::Email;
use super::page::{Cursor, Positioned};
use crate::clock::Timestamp;
use crate::id::UserId;

/// The role of an account that no rule gives another one.
pub const ROLE_USER: &str = "USER";
/// The role of the first administrator.
pub const ROLE_ADMIN: &str = "ADMIN";
/// The `provider` of an account that signs in with a password here.
pub const LOCAL: &str = "local";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Absent if the account's provider gave none that it calls verified.
    pub email: Option<Email>,
    pub email_verified: bool,
    pub name: String,
    pub username: String,
    pub role: String,
    /// [`LOCAL`] or a provider's id.
    pub provider: String,
    pub avatar_url: String,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

/// What a provider says of a user at a login; empty text and `None` mean that it says nothing.
#[derive(Clone, Debug)]
pub struct Profile {
    pub email: Option<Email>,
    /// Whether the provider says that it verified that very address.
    pub email_verified: bool,
    /// An address that the provider does not call verified. It does not become the account's, and
    /// is no longer the account's if it was before.
    pub unverified_email: Option<Email>,
    pub name: String,
    pub username: String,
    pub avatar_url: String,
}

impl User {
    /// The bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let email = self.email.as_ref().map_or("", Email::as_str);
        let texts = [
            email,
            &self.name,
            &self.username,
            &self.role,
            &self.provider,
            &self.avatar_url,
        ];
        texts.map(str::len).iter().sum()
    }

    /// An account to be made, with the role of every new account.
    pub fn new(id: UserId, provider: String, profile: Profile, now: Timestamp) -> Self {
        Self {
            id,
            email: profile.email,
            email_verified: profile.email_verified,
            name: profile.name,
            username: profile.username,
            role: ROLE_USER.to_owned(),
            provider,
            avatar_url: profile.avatar_url,
            create_time: now,
            update_time: now,
        }
    }
}

impl Positioned for User {
    fn cursor(&self) -> Cursor {
        Cursor {
            time: self.create_time,
            id: self.id.to_string(),
        }
    }
}

/// How a new local account may become the administrator. Each way works once in the store's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminClaim {
    /// It may not.
    None,
    /// It is the first account of the store.
    First,
    /// It presented the bootstrap token, and no account became administrator before.
    Bootstrap,
    /// As `Bootstrap`; if the token has been used before, no account is made at all.
    BootstrapOnly,
}

/// What became of a registration.
#[derive(Debug)]
pub enum Registered {
    Made(User),
    /// Another account holds the address.
    EmailInUse,
    /// With [`AdminClaim::BootstrapOnly`]: the bootstrap token has been used before.
    Closed,
}

/// A display name: 3 to 80 characters, not blank, without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// Reads a display name.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(name: String) -> Result<Self, &'static str> {
        match name.chars().count() {
            3..=80 if !name.chars().any(char::is_control) && !name.trim().is_empty() => {
                Ok(Self(name))
            }
            3..=80 => Err("must not be blank or hold control characters"),
            _ => Err("must have 3 to 80 characters"),
        }
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// A handle, lower case: empty, or 2 to 80 characters without spaces at the ends and control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Reads a handle; upper case becomes lower case.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(username: &str) -> Result<Self, &'static str> {
        match username.chars().count() {
            0 => Ok(Self(String::new())),
            2..=80 if username.trim() == username && !username.chars().any(char::is_control) => {
                Ok(Self(username.to_lowercase()))
            }
            2..=80 => Err("must not begin or end with a space or hold control characters"),
            _ => Err("must have 2 to 80 characters, or be left out"),
        }
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_lower_case() {
        assert_eq!(
            Username::parse("AnnEx").map(Username::into_string),
            Ok("annex".to_owned())
        );
        assert!(Username::parse("a").is_err());
        assert!(Username::parse("a\nb").is_err());
    }
}
