//! What a provider granted, and why it did not.

use std::time::Duration;

use super::token_endpoint::{Answer, Failure};
use crate::clock::Timestamp;
use crate::error::{Cause, Error};
use crate::secret::SecretString;

/// The life of an access token whose provider does not say.
const UNKNOWN_LIFETIME: Duration = Duration::from_mins(5);

/// A user's tokens.
#[derive(Debug)]
pub struct Grant {
    /// The id of the provider that granted it.
    pub provider: String,
    /// The access token.
    pub access_token: SecretString,
    /// When it ends; five minutes from now where the provider does not say.
    pub access_expire_time: Timestamp,
    /// The verified ID token as it came, and its `exp`.
    pub id_token: Option<(SecretString, Timestamp)>,
    /// A refresh token; at a refresh, none means that the one used stays good.
    pub refresh_token: Option<SecretString>,
    /// The scopes granted; at a refresh, none means that they are as before.
    pub scopes: Option<Vec<String>>,
}

impl Grant {
    pub(super) fn new(
        provider: &str,
        answer: Answer,
        id_expire_time: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        Self {
            provider: provider.to_owned(),
            access_token: answer.access_token,
            access_expire_time: now.plus(answer.expires_in.unwrap_or(UNKNOWN_LIFETIME)),
            id_token: answer.id_token.zip(id_expire_time),
            refresh_token: answer.refresh_token,
            scopes: answer.scopes,
        }
    }
}

/// Whose tokens are renewed.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The identity's issuer, as the provider writes it.
    pub issuer: &'a str,
    /// The identity's `sub`.
    pub subject: &'a str,
    /// The login's nonce, where it was kept.
    pub nonce: Option<&'a str>,
}

/// Why tokens were not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The refresh token is dead: the user has to sign in at the provider again.
    #[error("the provider refused the refresh token: {0}")]
    Refused(String),
    /// The refresh token was not used; try again later.
    #[error("the provider cannot be asked now")]
    Transient(#[source] Cause),
    /// The refresh token may have been used, and what it brought is lost.
    #[error("whether the provider renewed the tokens is not known")]
    InDoubt(#[source] Cause),
    /// The tokens that came are not the user's or not good; nothing of them is kept.
    #[error("the provider's answer failed verification: {0}")]
    Invalid(&'static str),
}

impl RefreshError {
    pub(super) fn of(failure: Failure, rotates: bool) -> Self {
        match failure {
            Failure::Refused(code) if ends_the_grant(&code) => Self::Refused(code),
            // What the operator has to mend, or the provider, must not cost the users their logins.
            Failure::Refused(code) => {
                Self::Transient(format!("the token endpoint's answer is {code}").into())
            }
            Failure::InDoubt(cause) if rotates => Self::InDoubt(cause),
            Failure::NotNow(cause) | Failure::InDoubt(cause) => Self::Transient(cause),
        }
    }
}

/// The codes of RFC 6749 section 5.2 and OpenID Connect Core section 3.1.2.6 that only the user can mend.
fn ends_the_grant(code: &str) -> bool {
    [
        "invalid_grant",
        "interaction_required",
        "login_required",
        "consent_required",
        "account_selection_required",
    ]
    .contains(&code)
}

pub(super) fn login_error(failure: Failure) -> Error {
    match failure {
        Failure::Refused(code) => Error::ProviderRefused(code),
        Failure::NotNow(cause) | Failure::InDoubt(cause) => Error::ProviderUnavailable(cause),
    }
}
