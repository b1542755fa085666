//! The vault seals provider tokens for the store, and opens them.

use std::sync::Mutex;

use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::binding::{Binding, Terms};
use super::tokens::{IdToken, ProviderTokens};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::model::provider_tokens::{
    NewTokens, SealedState, SealedTokens, StoredTokens, TokenState, TokensKey,
};
use crate::provider::{Grant, VerifiedClaims};
use crate::secret::{ExposeSecret as _, Keyring, Purpose, SecretString};

/// What the tokens of one row occupy besides the tokens and claims, in bytes; `scripts/prove memory`
/// measures it.
const OVERHEAD: usize = 2560;

/// Seals and opens provider tokens; each value opens only in its own row and column, and together
/// with the times, scopes, version and state that it was sealed with.
#[derive(Clone, Debug)]
pub struct Vault {
    keyring: Keyring,
}

/// The contents of one row, before they are sealed.
struct Contents<'a> {
    access_token: &'a SecretString,
    id_token: Option<&'a SecretString>,
    refresh_token: Option<&'a SecretString>,
    claims: &'a Map<String, Json>,
    terms: Terms<'a>,
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
        key: TokensKey,
        user: &UserId,
        grant: &Grant,
        claims: &VerifiedClaims,
        now: Timestamp,
    ) -> NewTokens {
        let scopes = grant.scopes.as_deref().unwrap_or_default().join(" ");
        let contents = Contents {
            access_token: &grant.access_token,
            id_token: grant.id_token.as_ref().map(|(text, _)| text),
            refresh_token: grant.refresh_token.as_ref(),
            claims: claims.members(),
            terms: Terms {
                version: 1,
                update_time: now,
                access_expire_time: grant.access_expire_time,
                id_expire_time: grant.id_token.as_ref().map(|(_, expire_time)| *expire_time),
                scopes: &scopes,
            },
        };
        let binding = Binding {
            session: &key.session_id,
            identity: &key.identity_id,
            user,
            issuer: claims.issuer(),
            subject: claims.subject(),
            provider: &grant.provider,
        };
        let content = self.seal(binding, &contents, TokenState::Active);
        NewTokens {
            provider: grant.provider.clone(),
            content,
            key,
        }
    }

    /// Seals the tokens of a refresh; what the provider did not send is kept as it was.
    pub(super) fn seal_refresh(
        &self,
        tokens: &ProviderTokens,
        grant: &Grant,
        claims: Option<&VerifiedClaims>,
        now: Timestamp,
    ) -> SealedTokens {
        let scopes = grant.scopes.as_ref().map(|scopes| scopes.join(" "));
        let id_token = id_token(grant).or_else(|| tokens.id_token.clone());
        let contents = Contents {
            access_token: &grant.access_token,
            id_token: id_token.as_ref().map(|token| &token.text),
            refresh_token: grant
                .refresh_token
                .as_ref()
                .or(tokens.refresh_token.as_ref()),
            claims: claims.map_or(&tokens.claims, VerifiedClaims::members),
            terms: Terms {
                version: tokens.version + 1,
                update_time: now,
                access_expire_time: grant.access_expire_time,
                id_expire_time: id_token.as_ref().map(|token| token.expire_time),
                scopes: scopes.as_deref().unwrap_or(&tokens.scopes),
            },
        };
        self.seal(tokens.binding(), &contents, TokenState::Active)
    }

    /// Seals another state of these tokens.
    pub(super) fn seal_state(&self, tokens: &ProviderTokens, state: TokenState) -> SealedState {
        let context = tokens.binding().state(state, tokens.version);
        SealedState {
            state,
            seal: self.seal_value(&context, &[]),
        }
    }

    /// Seals a row anew that was sealed before there was a seal over its state.
    ///
    /// # Errors
    /// [`Error::Internal`] if a value was changed, moved or sealed with an unknown key.
    pub(super) fn seal_anew(&self, stored: &StoredTokens) -> Result<SealedTokens> {
        let binding = Binding::of(stored);
        let open = |column, sealed: &[u8]| self.open_text(&binding.row(column), sealed);
        let content = &stored.content;
        let optional =
            |column, sealed: Option<&[u8]>| sealed.map(|sealed| open(column, sealed)).transpose();
        let access_token = open("access_token", &content.access_token)?;
        let id_token = optional("id_token", content.id_token.as_deref())?;
        let refresh_token = optional("refresh_token", content.refresh_token.as_deref())?;
        let claims = read_claims(&open("claims", &content.claims)?)?;
        let contents = Contents {
            access_token: &access_token,
            id_token: id_token.as_ref(),
            refresh_token: refresh_token.as_ref(),
            claims: &claims,
            terms: Terms::of(stored),
        };
        Ok(self.seal(binding, &contents, stored.state))
    }

    /// Whether the key that seals today sealed everything in a row.
    pub(super) fn is_current(&self, stored: &StoredTokens) -> bool {
        let content = &stored.content;
        let optional = [
            &content.id_token,
            &content.refresh_token,
            &content.state_seal,
        ];
        let optional = optional.into_iter().flatten();
        let mut values = optional.chain([&content.access_token, &content.claims]);
        content.state_seal.is_some() && values.all(|sealed| self.keyring.is_current(sealed))
    }

    /// Seals the same tokens in the same state with the key that seals today.
    pub(super) fn reseal(&self, tokens: &ProviderTokens) -> SealedTokens {
        let id_token = tokens.id_token.as_ref();
        let contents = Contents {
            access_token: &tokens.access_token,
            id_token: id_token.map(|token| &token.text),
            refresh_token: tokens.refresh_token.as_ref(),
            claims: &tokens.claims,
            terms: Terms {
                version: tokens.version,
                update_time: tokens.update_time,
                access_expire_time: tokens.access_expire_time,
                id_expire_time: id_token.map(|token| token.expire_time),
                scopes: &tokens.scopes,
            },
        };
        self.seal(tokens.binding(), &contents, tokens.state)
    }

    fn seal(
        &self,
        binding: Binding<'_>,
        contents: &Contents<'_>,
        state: TokenState,
    ) -> SealedTokens {
        let terms = &contents.terms;
        let seal = |column, text: &[u8]| self.seal_value(&binding.column(column, terms), text);
        let token = |column, text: &SecretString| seal(column, text.expose_secret().as_bytes());
        let claims = Json::Object(contents.claims.clone()).to_string();
        SealedTokens {
            access_token: token("access_token", contents.access_token),
            access_expire_time: terms.access_expire_time,
            id_token: contents.id_token.map(|text| token("id_token", text)),
            id_expire_time: terms.id_expire_time,
            refresh_token: contents
                .refresh_token
                .map(|text| token("refresh_token", text)),
            claims: seal("claims", claims.as_bytes()),
            scopes: terms.scopes.to_owned(),
            state_seal: Some(self.seal_value(&binding.state(state, terms.version), &[])),
            update_time: terms.update_time,
        }
    }

    /// Opens a stored row.
    ///
    /// # Errors
    /// [`Error::Internal`] if anything of it was changed, moved or sealed with an unknown key.
    pub(super) fn open(&self, stored: StoredTokens) -> Result<ProviderTokens> {
        let (binding, terms) = (Binding::of(&stored), Terms::of(&stored));
        let content = &stored.content;
        let state_seal = content
            .state_seal
            .as_deref()
            .ok_or_else(|| Error::internal("the state has no seal"))?;
        self.open_value(&binding.state(stored.state, stored.version), state_seal)?;
        let text = |column, sealed: &[u8]| self.open_text(&binding.column(column, &terms), sealed);
        let id_token = match (&content.id_token, content.id_expire_time) {
            (Some(sealed), Some(expire_time)) => Some(IdToken {
                text: text("id_token", sealed)?,
                expire_time,
            }),
            _ => None,
        };
        Ok(ProviderTokens {
            access_token: text("access_token", &content.access_token)?,
            access_expire_time: content.access_expire_time,
            id_token,
            refresh_token: content
                .refresh_token
                .as_deref()
                .map(|sealed| text("refresh_token", sealed))
                .transpose()?,
            claims: read_claims(&text("claims", &content.claims)?)?,
            weight: weight(content),
            state_seal: state_seal.to_vec(),
            scopes: stored.content.scopes,
            key: stored.key,
            user_id: stored.user_id,
            issuer: stored.issuer,
            subject: stored.subject,
            provider: stored.provider,
            state: stored.state,
            version: stored.version,
            update_time: stored.content.update_time,
            released: Mutex::default(),
        })
    }

    fn seal_value(&self, context: &[String], value: &[u8]) -> Vec<u8> {
        self.keyring
            .seal(Purpose::FederatedTokens, &texts(context), value)
    }

    fn open_value(&self, context: &[String], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        self.keyring
            .open(Purpose::FederatedTokens, &texts(context), sealed)
            .map_err(Error::internal)
    }

    fn open_text(&self, context: &[String], sealed: &[u8]) -> Result<SecretString> {
        let opened = self.open_value(context, sealed)?;
        let text = std::str::from_utf8(&opened).map_err(Error::internal)?;
        Ok(SecretString::from(text))
    }
}

/// The bytes that a row occupies once it is open. Claims take several times their text, because each
/// of their names and values is a block of its own.
fn weight(content: &SealedTokens) -> usize {
    let optional = [&content.id_token, &content.refresh_token];
    let optional = optional.into_iter().flatten().map(Vec::len).sum::<usize>();
    OVERHEAD + content.access_token.len() + optional + 4 * content.claims.len()
}

fn texts(context: &[String]) -> Vec<&str> {
    context.iter().map(String::as_str).collect()
}

/// The error of serde is dropped, because it may quote a claim.
fn read_claims(text: &SecretString) -> Result<Map<String, Json>> {
    serde_json::from_str(text.expose_secret())
        .map_err(|_| Error::internal("the sealed claims are not an object"))
}
