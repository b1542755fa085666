//! Provider tokens as held: sealed in the store, opened here.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value as Json};

use super::oidc::{Grant, VerifiedClaims};
use super::vocabulary::OpenIdField;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{IdentityId, SessionId, UserId};
use crate::secret::{ExposeSecret as _, Keyring, Purpose, SecretString};
use crate::store::StoreError;
use crate::store::federated_tokens::{SealedTokens, StoredTokens, TokenState, TokensKey};

/// The tokens of one identity in one session.
#[derive(Debug)]
pub(super) struct Held {
    pub key: TokensKey,
    pub user_id: UserId,
    pub issuer: String,
    pub subject: String,
    pub provider: String,
    pub access_token: SecretString,
    pub access_expire_time: Timestamp,
    pub id_token: Option<HeldIdToken>,
    pub refresh_token: Option<SecretString>,
    /// Of an ID token that was verified in full; never read from a token again.
    pub claims: Map<String, Json>,
    pub scopes: String,
    pub state: TokenState,
    pub version: i64,
    pub update_time: Timestamp,
    released: Mutex<BTreeSet<OpenIdField>>,
}

impl Held {
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
pub(super) struct HeldIdToken {
    pub text: SecretString,
    pub expire_time: Timestamp,
}

/// Seals and opens provider tokens; each value opens only in its own row and column.
#[derive(Clone, Debug)]
pub struct Vault {
    keyring: Keyring,
}

/// Which row a sealed value stands in, and whose account at which provider it is of: who can write to the database must not make
/// tokens another account's, or another provider's.
#[derive(Clone, Copy)]
struct Place<'a> {
    session: &'a SessionId,
    identity: &'a IdentityId,
    user: &'a UserId,
    issuer: &'a str,
    subject: &'a str,
    provider: &'a str,
}

/// What is sealed together.
struct Tokens<'a> {
    grant: &'a Grant,
    id_token: Option<HeldIdToken>,
    refresh_token: Option<&'a SecretString>,
    claims: Cow<'a, Map<String, Json>>,
    scopes: String,
}

/// What an ID token says of itself; all else is about the user, or the login's nonce, which later tokens must repeat if they have one.
const OF_THE_TOKEN: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "azp",
    "auth_time",
    "at_hash",
    "c_hash",
    "acr",
    "amr",
];

/// The claims of a new ID token, and those about the user that it left out: userinfo may have given them at the login.
fn renewed_claims<'a>(
    held: &'a Map<String, Json>,
    new: Option<&'a Map<String, Json>>,
) -> Cow<'a, Map<String, Json>> {
    let Some(new) = new else {
        return Cow::Borrowed(held);
    };
    let lacks = |name: &str| {
        new.get(name)
            .is_none_or(|value| value.is_null() || value == "")
    };
    let mut claims = new.clone();
    // What vouches for an address stays with it.
    let kept_address = lacks("email");
    if kept_address {
        claims.remove("email_verified");
    }
    for (name, value) in held {
        let is_lacking = if name == "email_verified" {
            kept_address
        } else {
            lacks(name)
        };
        if is_lacking && !OF_THE_TOKEN.contains(&name.as_str()) {
            claims.insert(name.clone(), value.clone());
        }
    }
    Cow::Owned(claims)
}

fn id_token(grant: &Grant) -> Option<HeldIdToken> {
    grant
        .id_token
        .as_ref()
        .map(|(text, expire_time)| HeldIdToken {
            text: text.clone(),
            expire_time: *expire_time,
        })
}

impl Vault {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self { keyring }
    }

    /// Seals what a login brought.
    #[must_use]
    pub fn seal_login(
        &self,
        session: &SessionId,
        identity: &IdentityId,
        user: &UserId,
        grant: &Grant,
        claims: &VerifiedClaims,
    ) -> SealedTokens {
        let tokens = Tokens {
            grant,
            id_token: id_token(grant),
            refresh_token: grant.refresh_token.as_ref(),
            claims: Cow::Borrowed(claims.members()),
            scopes: grant.scopes.as_deref().unwrap_or_default().join(" "),
        };
        let place = Place {
            session,
            identity,
            user,
            issuer: claims.issuer(),
            subject: claims.subject(),
            provider: &grant.provider,
        };
        self.seal(place, &tokens)
    }

    /// Seals what a refresh brought; what it did not bring stays as it was.
    pub(super) fn seal_refresh(
        &self,
        held: &Held,
        grant: &Grant,
        claims: Option<&VerifiedClaims>,
    ) -> SealedTokens {
        let place = Place {
            session: &held.key.session_id,
            identity: &held.key.identity_id,
            user: &held.user_id,
            issuer: &held.issuer,
            subject: &held.subject,
            provider: &held.provider,
        };
        let tokens = Tokens {
            grant,
            id_token: id_token(grant).or_else(|| held.id_token.clone()),
            refresh_token: grant.refresh_token.as_ref().or(held.refresh_token.as_ref()),
            claims: renewed_claims(&held.claims, claims.map(VerifiedClaims::members)),
            scopes: grant
                .scopes
                .as_ref()
                .map_or_else(|| held.scopes.clone(), |scopes| scopes.join(" ")),
        };
        self.seal(place, &tokens)
    }

    fn seal(&self, place: Place<'_>, tokens: &Tokens<'_>) -> SealedTokens {
        let seal = |kind, text: &SecretString| {
            self.seal_value(place, kind, text.expose_secret().as_bytes())
        };
        SealedTokens {
            access_token: seal("access_token", &tokens.grant.access_token),
            access_expire_time: tokens.grant.access_expire_time,
            id_token: tokens
                .id_token
                .as_ref()
                .map(|token| seal("id_token", &token.text)),
            id_expire_time: tokens.id_token.as_ref().map(|token| token.expire_time),
            refresh_token: tokens
                .refresh_token
                .map(|token| seal("refresh_token", token)),
            claims: self.seal_value(
                place,
                "claims",
                Json::Object(tokens.claims.clone().into_owned())
                    .to_string()
                    .as_bytes(),
            ),
            scopes: tokens.scopes.clone(),
        }
    }

    /// Opens a stored row.
    ///
    /// # Errors
    /// [`Error::Internal`] where a value was changed, moved or sealed with an unknown key.
    pub(super) fn open(&self, stored: StoredTokens) -> Result<Held> {
        let place = Place {
            session: &stored.key.session_id,
            identity: &stored.key.identity_id,
            user: &stored.user_id,
            issuer: &stored.issuer,
            subject: &stored.subject,
            provider: &stored.provider,
        };
        let text = |kind, sealed: &[u8]| self.open_text(place, kind, sealed);
        let content = &stored.content;
        let id_token = match (&content.id_token, content.id_expire_time) {
            (Some(sealed), Some(expire_time)) => Some(HeldIdToken {
                text: text("id_token", sealed)?,
                expire_time,
            }),
            _ => None,
        };
        let claims = serde_json::from_str(text("claims", &content.claims)?.expose_secret())
            .map_err(|_| StoreError::corrupt("federated_tokens", "claims", place.session))?;
        Ok(Held {
            access_token: text("access_token", &content.access_token)?,
            access_expire_time: content.access_expire_time,
            id_token,
            refresh_token: content
                .refresh_token
                .as_deref()
                .map(|sealed| text("refresh_token", sealed))
                .transpose()?,
            claims,
            scopes: stored.content.scopes,
            key: stored.key,
            user_id: stored.user_id,
            issuer: stored.issuer,
            subject: stored.subject,
            provider: stored.provider,
            state: stored.state,
            version: stored.version,
            update_time: stored.update_time,
            released: Mutex::default(),
        })
    }

    fn seal_value(&self, place: Place<'_>, kind: &str, value: &[u8]) -> Vec<u8> {
        self.keyring
            .seal(Purpose::FederatedTokens, &place.context(kind), value)
    }

    fn open_text(
        &self,
        place: Place<'_>,
        kind: &'static str,
        sealed: &[u8],
    ) -> Result<SecretString> {
        let opened = self
            .keyring
            .open(Purpose::FederatedTokens, &place.context(kind), sealed)
            .map_err(Error::internal)?;
        let text = std::str::from_utf8(&opened)
            .map_err(|_| StoreError::corrupt("federated_tokens", kind, place.session))?;
        Ok(SecretString::from(text))
    }
}

impl<'a> Place<'a> {
    fn context<'b>(self, kind: &'b str) -> [&'b str; 8]
    where
        'a: 'b,
    {
        let (session, user, identity) = (
            self.session.as_str(),
            self.user.as_str(),
            self.identity.as_str(),
        );
        [
            "federated_tokens",
            kind,
            session,
            user,
            identity,
            self.issuer,
            self.subject,
            self.provider,
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn renewed(held: &Json, new: &Json) -> Json {
        let object = |json: &Json| json.as_object().expect("an object").clone();
        Json::Object(renewed_claims(&object(held), Some(&object(new))).into_owned())
    }

    #[test]
    fn a_renewal_keeps_what_the_new_id_token_does_not_say_of_the_user() {
        let held = json!({"sub": "a", "nonce": "n", "auth_time": 1, "email": "a@x", "email_verified": true, "name": "Ann", "roles": ["x"]});
        // The login's nonce too, because the next token may repeat it and no other.
        let kept = json!({"sub": "a", "exp": 2, "nonce": "n", "email": "a@x", "email_verified": true, "name": "Lee", "roles": ["x"]});
        assert_eq!(
            renewed(&held, &json!({"sub": "a", "exp": 2, "name": "Lee"})),
            kept
        );
    }

    #[test]
    fn a_new_address_is_not_verified_because_the_old_one_was() {
        let held = json!({"email": "a@x", "email_verified": true});
        assert_eq!(
            renewed(&held, &json!({"email": "b@x"})),
            json!({"email": "b@x"})
        );
        // What is said of an address that is not there is nothing said of the one that is held.
        assert_eq!(
            renewed(&json!({"email": "a@x"}), &json!({"email_verified": true})),
            json!({"email": "a@x"})
        );
    }
}
