//! The vault seals provider tokens for the store, and opens them.

use std::sync::Mutex;

use serde_json::{Map, Value as Json};

use super::tokens::{IdToken, ProviderTokens};
use crate::error::{Error, Result};
use crate::id::{IdentityId, SessionId, UserId};
use crate::model::provider_tokens::{SealedTokens, StoredTokens};
use crate::provider::{Grant, VerifiedClaims};
use crate::secret::{ExposeSecret as _, Keyring, Purpose, SecretString};
use crate::store::StoreError;

/// Seals and opens provider tokens; each value opens only in its own row and column.
#[derive(Clone, Debug)]
pub struct Vault {
    keyring: Keyring,
}

/// What a sealed value is bound to: its row, and whose account at which provider it belongs to.
/// Whoever can write to the database must not be able to give tokens to another account or another
/// provider.
#[derive(Clone, Copy)]
struct Binding<'a> {
    session: &'a SessionId,
    identity: &'a IdentityId,
    user: &'a UserId,
    issuer: &'a str,
    subject: &'a str,
    provider: &'a str,
}

/// The contents of one row, before they are sealed.
struct Contents<'a> {
    grant: &'a Grant,
    id_token: Option<IdToken>,
    refresh_token: Option<&'a SecretString>,
    claims: &'a Map<String, Json>,
    scopes: String,
}

fn id_token(grant: &Grant) -> Option<IdToken> {
    grant.id_token.as_ref().map(|(text, expire_time)| IdToken {
        text: text.clone(),
        expire_time: *expire_time,
    })
}

impl Vault {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self { keyring }
    }

    /// Seals the tokens of a login.
    pub fn seal_login(
        &self,
        session: &SessionId,
        identity: &IdentityId,
        user: &UserId,
        grant: &Grant,
        claims: &VerifiedClaims,
    ) -> SealedTokens {
        let contents = Contents {
            grant,
            id_token: id_token(grant),
            refresh_token: grant.refresh_token.as_ref(),
            claims: claims.members(),
            scopes: grant.scopes.as_deref().unwrap_or_default().join(" "),
        };
        let binding = Binding {
            session,
            identity,
            user,
            issuer: claims.issuer(),
            subject: claims.subject(),
            provider: &grant.provider,
        };
        self.seal(binding, &contents)
    }

    /// Seals the tokens of a refresh; what the provider did not send is kept as it was.
    pub(super) fn seal_refresh(
        &self,
        tokens: &ProviderTokens,
        grant: &Grant,
        claims: Option<&VerifiedClaims>,
    ) -> SealedTokens {
        let binding = Binding {
            session: &tokens.key.session_id,
            identity: &tokens.key.identity_id,
            user: &tokens.user_id,
            issuer: &tokens.issuer,
            subject: &tokens.subject,
            provider: &tokens.provider,
        };
        let contents = Contents {
            grant,
            id_token: id_token(grant).or_else(|| tokens.id_token.clone()),
            refresh_token: grant
                .refresh_token
                .as_ref()
                .or(tokens.refresh_token.as_ref()),
            claims: claims.map_or(&tokens.claims, VerifiedClaims::members),
            scopes: grant
                .scopes
                .as_ref()
                .map_or_else(|| tokens.scopes.clone(), |scopes| scopes.join(" ")),
        };
        self.seal(binding, &contents)
    }

    fn seal(&self, binding: Binding<'_>, contents: &Contents<'_>) -> SealedTokens {
        let seal = |kind, text: &SecretString| {
            self.seal_value(binding, kind, text.expose_secret().as_bytes())
        };
        SealedTokens {
            access_token: seal("access_token", &contents.grant.access_token),
            access_expire_time: contents.grant.access_expire_time,
            id_token: contents
                .id_token
                .as_ref()
                .map(|token| seal("id_token", &token.text)),
            id_expire_time: contents.id_token.as_ref().map(|token| token.expire_time),
            refresh_token: contents
                .refresh_token
                .map(|token| seal("refresh_token", token)),
            claims: self.seal_value(
                binding,
                "claims",
                Json::Object(contents.claims.clone()).to_string().as_bytes(),
            ),
            scopes: contents.scopes.clone(),
        }
    }

    /// Opens a stored row.
    ///
    /// # Errors
    /// [`Error::Internal`] if a value was changed, moved or sealed with an unknown key.
    pub(super) fn open(&self, stored: StoredTokens) -> Result<ProviderTokens> {
        let binding = Binding {
            session: &stored.key.session_id,
            identity: &stored.key.identity_id,
            user: &stored.user_id,
            issuer: &stored.issuer,
            subject: &stored.subject,
            provider: &stored.provider,
        };
        let text = |kind, sealed: &[u8]| self.open_text(binding, kind, sealed);
        let content = &stored.content;
        let id_token = match (&content.id_token, content.id_expire_time) {
            (Some(sealed), Some(expire_time)) => Some(IdToken {
                text: text("id_token", sealed)?,
                expire_time,
            }),
            _ => None,
        };
        let claims = serde_json::from_str(text("claims", &content.claims)?.expose_secret())
            .map_err(|_| StoreError::corrupt("federated_tokens", "claims", binding.session))?;
        Ok(ProviderTokens {
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

    fn seal_value(&self, binding: Binding<'_>, kind: &str, value: &[u8]) -> Vec<u8> {
        self.keyring
            .seal(Purpose::FederatedTokens, &binding.context(kind), value)
    }

    fn open_text(
        &self,
        binding: Binding<'_>,
        kind: &'static str,
        sealed: &[u8],
    ) -> Result<SecretString> {
        let opened = self
            .keyring
            .open(Purpose::FederatedTokens, &binding.context(kind), sealed)
            .map_err(Error::internal)?;
        let text = std::str::from_utf8(&opened)
            .map_err(|_| StoreError::corrupt("federated_tokens", kind, binding.session))?;
        Ok(SecretString::from(text))
    }
}

impl<'a> Binding<'a> {
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
