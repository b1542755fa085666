//! Provider tokens, opened.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value as Json};

use crate::clock::Timestamp;
use crate::id::UserId;
use crate::model::provider_tokens::{TokenState, TokensKey};
use crate::secret::SecretString;
use crate::template::vocabulary::OpenIdField;

/// The tokens of one identity in one session.
#[derive(Debug)]
pub(super) struct ProviderTokens {
    pub key: TokensKey,
    pub user_id: UserId,
    pub issuer: String,
    pub subject: String,
    pub provider: String,
    pub access_token: SecretString,
    pub access_expire_time: Timestamp,
    pub id_token: Option<IdToken>,
    pub refresh_token: Option<SecretString>,
    /// Of an ID token that was verified in full; never read from a token again.
    pub claims: Map<String, Json>,
    pub scopes: String,
    pub state: TokenState,
    pub version: i64,
    pub update_time: Timestamp,
    /// Which of them were released since they were read.
    pub released: Mutex<BTreeSet<OpenIdField>>,
}

impl ProviderTokens {
    /// Whether a token is given away for the first time since these were read.
    pub fn is_first_release(&self, field: &OpenIdField) -> bool {
        self.released
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(field.clone())
    }

    /// When the tokens were renewed last; `None` for those of the login.
    pub fn renewed(&self) -> Option<Timestamp> {
        (self.version > 1).then_some(self.update_time)
    }
}

/// An ID token with an expiry of its own.
#[derive(Clone, Debug)]
pub(super) struct IdToken {
    pub text: SecretString,
    pub expire_time: Timestamp,
}
