//! The tokens that a provider grants, and why it does not grant them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::token_endpoint::{Answer, Failure};
use crate::clock::Timestamp;
use crate::error::{Cause, Error};
use crate::secret::SecretString;

/// The lifetime of an access token if the provider does not state one.
const UNKNOWN_LIFETIME: Duration = Duration::from_mins(5);

/// A user's tokens as the provider granted them.
#[derive(Debug)]
pub struct Grant {
    /// The id of the provider that granted it.
    pub provider: String,
    /// The access token.
    pub access_token: SecretString,
    /// When it expires; after five minutes if the provider does not say.
    pub access_expire_time: Timestamp,
    /// The verified ID token as the provider sent it, and its `exp`.
    pub id_token: Option<(SecretString, Timestamp)>,
    /// The refresh token; after a refresh, `None` means that the one used remains valid.
    pub refresh_token: Option<SecretString>,
    /// The scopes granted; after a refresh, `None` means that they have not changed.
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
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// The identity's issuer, as the provider writes it.
    pub issuer: &'a str,
    /// The identity's `sub`.
    pub subject: &'a str,
    /// What was verified about the user before, with the login's nonce.
    pub claims: &'a Map<String, Value>,
}

/// Why tokens were not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The refresh token no longer works: the user has to sign in at the provider again.
    #[error("the provider refused the refresh token: {0}")]
    Refused(String),
    /// The refresh token was not used; try again later.
    #[error("the provider cannot renew the tokens now")]
    Transient(#[source] Cause),
    /// The provider may have used the refresh token, but the tokens that it issued are lost.
    #[error("it is not known whether the provider renewed the tokens")]
    InDoubt(#[source] Cause),
    /// The new tokens are invalid or those of another user; none of them is kept.
    #[error("the provider's answer failed verification: {0}")]
    Invalid(&'static str),
}

impl RefreshError {
    /// `rotates` says whether using the refresh token may have invalidated it.
    pub(super) fn from_failure(failure: Failure, rotates: bool) -> Self {
        match failure {
            Failure::Refused(code) if only_the_user_can_fix(&code) => Self::Refused(code),
            // The operator or the provider has to fix this; users must not have to sign in again
            // for it.
            Failure::Refused(code) => {
                Self::Transient(format!("the token endpoint answered with the error {code}").into())
            }
            Failure::InDoubt(cause) if rotates => Self::InDoubt(cause),
            Failure::NotProcessed(cause) | Failure::InDoubt(cause) => Self::Transient(cause),
        }
    }
}

/// Whether the error code (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6) means that
/// the user has to sign in again.
fn only_the_user_can_fix(code: &str) -> bool {
    [
        "invalid_grant",
        "interaction_required",
        "login_required",
        "consent_required",
        "account_selection_required",
    ]
    .contains(&code)
}

/// A failed code exchange only fails the login, so it does not matter whether the code was used.
pub(super) fn login_error(failure: Failure) -> Error {
    match failure {
        Failure::Refused(code) => Error::ProviderRefused(code),
        Failure::NotProcessed(cause) | Failure::InDoubt(cause) => Error::ProviderUnavailable(cause),
    }
}
