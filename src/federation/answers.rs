//! The values of one call: its user, body, variables and provider tokens.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::context::ResolveContext;
use super::tokens::ProviderTokens;
use crate::config::Templates;
use crate::model::email::Email;
use crate::provider::{ClaimedProfile, Provider};
use crate::secret::ExposeSecret as _;
use crate::template::values::{Value, Values};
use crate::template::vocabulary::{OpenIdField, Placeholder, Status, UserField};

/// Where the values for one provider's placeholders come from.
pub(super) enum Source {
    Tokens {
        tokens: Arc<ProviderTokens>,
        access: Status,
        id_token: Status,
    },
    /// There are no tokens, and why.
    None(Status),
}

/// The values of one call.
pub(super) struct Answers<'a> {
    pub context: &'a ResolveContext,
    /// By the provider written after `@`; `None` is for placeholders without one.
    pub sources: BTreeMap<Option<String>, Source>,
    pub templates: &'a Templates,
    pub providers: &'a [Provider],
}

impl Values for Answers<'_> {
    fn value(&self, placeholder: &Placeholder) -> Value<'_> {
        match placeholder {
            Placeholder::User(field) => Value::Text(self.user(*field)),
            Placeholder::Body(field) => match &self.context.body {
                None => Value::Unresolved(Status::Missing),
                Some(body) => Value::field(body.get(field).map(String::as_str)),
            },
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
            Placeholder::Declared(name) => Value::required(self.context.custom_vars.get(name)),
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
        let user = &self.context.state.user;
        let flag = |set| if set { "true" } else { "false" };
        match field {
            UserField::Id => user.id.as_str(),
            UserField::Name => &user.name,
            UserField::Username => &user.username,
            UserField::Email => user.email.as_ref().map_or("", Email::as_str),
            UserField::Provider => &user.provider,
            UserField::Role => &user.role,
            UserField::EmailVerified => flag(user.email_verified),
            UserField::TwoFactorEnabled => flag(false),
            UserField::OpenIdId => match self.sources.get(&None) {
                Some(Source::Tokens { tokens, .. }) => &tokens.subject,
                _ => "",
            },
            // No account has these: the providers are not supported, and nobody accepts terms here.
            UserField::GoogleId
            | UserField::FacebookId
            | UserField::SamlId
            | UserField::LdapId
            | UserField::GithubId
            | UserField::DiscordId
            | UserField::AppleId
            | UserField::TermsAccepted
            | UserField::TermsAcceptedAt => "",
        }
        .into()
    }

    fn openid<'a>(&self, field: &OpenIdField, source: Option<&'a Source>) -> Value<'a> {
        let (tokens, access, id_token) = match source {
            Some(Source::Tokens {
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
                Value::required(self.profile(tokens).and_then(|profile| profile.email))
            }
            OpenIdField::UserName => {
                Value::required(self.profile(tokens).and_then(|profile| profile.name))
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

    fn profile(&self, tokens: &ProviderTokens) -> Option<ClaimedProfile> {
        let provider = Provider::find(self.providers, &tokens.provider).ok()?;
        Some(provider.profile(&tokens.claims))
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
