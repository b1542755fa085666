//! The values of one call: its user, body, variables and provider tokens.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::held::Held;
use super::oidc::{OpenIdClient, Profile, profile};
use super::render::{Value, Values};
use super::resolve::Context;
use super::vocabulary::{OpenIdField, Placeholder, Status, UserField};
use crate::config::Templates;
use crate::secret::ExposeSecret as _;

/// What answers the placeholders of one provider.
pub(super) enum Source {
    Held {
        tokens: Arc<Held>,
        access: Status,
        id_token: Status,
    },
    /// Nothing does, and why.
    None(Status),
}

/// The values of one call.
pub(super) struct Answers<'a> {
    pub context: &'a Context,
    /// By provider as written after `@`; `None` for placeholders without.
    pub sources: BTreeMap<Option<String>, Source>,
    pub templates: &'a Templates,
    pub clients: &'a [OpenIdClient],
}

impl Values for Answers<'_> {
    fn value(&self, placeholder: &Placeholder) -> Value<'_> {
        match placeholder {
            Placeholder::User(field) => Value::Text(self.user(*field)),
            Placeholder::Body(_) if self.context.body.is_empty() => {
                Value::Unresolved(Status::Missing)
            }
            Placeholder::Body(field) => {
                Value::field(self.context.body.get(field.key()).map(String::as_str))
            }
            Placeholder::OpenId { field, provider } => {
                self.openid(field, self.sources.get(provider))
            }
            Placeholder::Custom(name) => self
                .context
                .custom_vars
                .get(name)
                .map_or(Value::Unresolved(Status::UnknownName), |value| {
                    Value::Text(value.into())
                }),
            Placeholder::Env(name) => self
                .templates
                .env
                .get(name)
                .map_or(Value::Unresolved(Status::NotAllowed), |value| {
                    Value::Text(value.expose_secret().into())
                }),
            Placeholder::Graph => Value::Unresolved(Status::NotAllowed),
            Placeholder::Reserved(_) => Value::Unresolved(Status::UnknownName),
        }
    }
}

impl Answers<'_> {
    /// A field that the account does not have is empty, as it is in LibreChat.
    fn user(&self, field: UserField) -> Cow<'_, str> {
        let user = &self.context.session.user;
        let flag = |set| if set { "true" } else { "false" };
        match field {
            UserField::Id => user.id.as_str(),
            UserField::Name => &user.name,
            UserField::Username => &user.username,
            UserField::Email => user.email.as_deref().unwrap_or_default(),
            UserField::Provider => &user.provider,
            UserField::Role => &user.role,
            UserField::EmailVerified => flag(user.email_verified),
            UserField::TwoFactorEnabled => flag(false),
            UserField::OpenIdId => match self.sources.get(&None) {
                Some(Source::Held { tokens, .. }) => &tokens.subject,
                _ => "",
            },
            _ => "",
        }
        .into()
    }

    fn openid<'a>(&self, field: &OpenIdField, source: Option<&'a Source>) -> Value<'a> {
        let (tokens, access, id_token) = match source {
            Some(Source::Held {
                tokens,
                access,
                id_token,
            }) => (tokens, *access, *id_token),
            Some(Source::None(status)) => return Value::Unresolved(*status),
            None => return Value::Unresolved(Status::NotFederated),
        };
        match field {
            OpenIdField::AccessToken if access != Status::Resolved => Value::Unresolved(access),
            OpenIdField::AccessToken => Value::Text(tokens.access_token.expose_secret().into()),
            OpenIdField::IdToken if id_token != Status::Resolved => Value::Unresolved(id_token),
            OpenIdField::IdToken => Value::required(
                tokens
                    .id_token
                    .as_ref()
                    .map(|token| token.text.expose_secret()),
            ),
            OpenIdField::UserId => Value::Text(tokens.subject.as_str().into()),
            OpenIdField::UserEmail => {
                Value::field(self.profile(tokens).and_then(|profile| profile.email))
            }
            OpenIdField::UserName => {
                Value::field(self.profile(tokens).and_then(|profile| profile.name))
            }
            OpenIdField::ExpiresAt => {
                Value::Text(tokens.access_expire_time.secs().to_string().into())
            }
            OpenIdField::Claim(name) if !self.templates.claims.contains(name) => {
                Value::Unresolved(Status::NotAllowed)
            }
            OpenIdField::Claim(name) => {
                Value::required(tokens.claims.get(name).and_then(claim_text))
            }
        }
    }

    fn profile(&self, tokens: &Held) -> Option<Profile> {
        let client = self
            .clients
            .iter()
            .find(|client| client.config().id == tokens.provider)?;
        Some(profile(&tokens.claims, client.config()))
    }
}

/// A claim as text; lists of texts are joined by commas, anything deeper has no text form.
fn claim_text(claim: &Json) -> Option<String> {
    match claim {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .map(|texts| texts.join(",")),
        Json::Null | Json::Object(_) => None,
    }
}
