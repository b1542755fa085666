//! Decrypted provider tokens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Json};

use super::binding::Binding;
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
    /// The claims of an ID token that was verified in full. They are stored, so the ID token is not
    /// parsed again.
    pub claims: Map<String, Json>,
    pub scopes: String,
    pub state: TokenState,
    pub state_seal: Vec<u8>,
    pub version: i64,
    pub update_time: Timestamp,
    /// The bytes that they occupy.
    pub weight: usize,
    /// Which tokens were released to which callers since they were read from the store.
    pub released: Mutex<BTreeSet<(Arc<str>, OpenIdField)>>,
}

impl ProviderTokens {
    /// Whether a token is released to a caller for the first time since these were read from the
    /// store.
    pub fn is_first_release(&self, caller: &Arc<str>, field: &OpenIdField) -> bool {
        self.released
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((Arc::clone(caller), field.clone()))
    }

    pub fn binding(&self) -> Binding<'_> {
        Binding {
            session: &self.key.session_id,
            identity: &self.key.identity_id,
            user: &self.user_id,
            issuer: &self.issuer,
            subject: &self.subject,
            provider: &self.provider,
        }
    }

    /// When the tokens were renewed last; `None` for those of the login.
    pub fn renewed(&self) -> Option<Timestamp> {
        (self.version > 1).then_some(self.update_time)
    }
}

/// An ID token and when it expires.
#[derive(Clone, Debug)]
pub(super) struct IdToken {
    pub text: SecretString,
    pub expire_time: Timestamp,
}
