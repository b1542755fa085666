//! Resolving: fetches what the templates of a call need, then renders them in one pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Federation;
use super::held::Held;
use super::render::{Options, Outcome, RenderError, Rendered};
use super::renew::Renewal;
use super::request::Request;
use super::values::{Answers, Source};
use super::vocabulary::{OnUnresolved, OpenIdField, Placeholder, Status};
use crate::clock::Timestamp;
use crate::error::{Error, Result, Unresolved, UnresolvedReason};
use crate::store::sessions::SessionState;

/// A credential with less left than this counts as expired.
const MIN_LIFE: Duration = Duration::from_secs(30);
/// A token renewed less than this ago is handed out whatever its life, so that short-lived ones are not renewed at each call.
const JUST_RENEWED: Duration = Duration::from_secs(10);

/// Who a call's templates are resolved for, and how.
#[derive(Debug)]
pub struct Context {
    /// The live session of the user.
    pub session: Arc<SessionState>,
    /// LibreChat's body fields; empty where the call belongs to no request.
    pub body: HashMap<String, String>,
    /// The user's own variables; their names are checked by whoever reads the request, together with all else that may be wrong in it.
    pub custom_vars: HashMap<String, String>,
    /// The provider that placeholders without `@provider` mean; empty where the user has one.
    pub provider: String,
    /// Tokens have to last at least so long.
    pub min_ttl: Duration,
    pub options: Options,
}

impl Federation {
    /// Puts the user's values where placeholders stand.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ProviderNotFound`], [`Error::Unresolved`] with all failing placeholders,
    /// [`Error::ProviderUnavailable`]; the store's.
    pub async fn resolve(
        &self,
        request: &Request,
        context: &Context,
        now: Timestamp,
    ) -> Result<Rendered> {
        if !context.provider.is_empty() {
            self.provider(&context.provider)?;
        }
        let needs = request.needs(context.options.user_authored);
        let mut sources = BTreeMap::new();
        if !needs.openid.is_empty() || needs.subject {
            let held = self.held(&context.session.id).await?;
            for (provider, fields) in &needs.openid {
                sources.insert(
                    provider.clone(),
                    self.source(&held, provider.as_deref(), fields, context, now)
                        .await?,
                );
            }
            sources
                .entry(None)
                .or_insert_with(|| self.pick(&held, None, context));
        }
        let answers = Answers {
            context,
            sources,
            templates: &self.0.templates,
            clients: self.providers(),
        };
        let rendered = request
            .render(&answers, context.options)
            .map_err(unresolved)?;
        note_releases(&rendered, &answers);
        Ok(rendered)
    }

    /// The tokens that a provider's placeholders mean, renewed where the templates need it.
    async fn source(
        &self,
        held: &[Arc<Held>],
        provider: Option<&str>,
        fields: &BTreeSet<OpenIdField>,
        context: &Context,
        now: Timestamp,
    ) -> Result<Source> {
        let mut source = self.pick(held, provider, context);
        let Source::Held {
            tokens,
            access,
            id_token,
        } = &mut source
        else {
            return Ok(source);
        };
        let wanted = |field| fields.contains(&field);
        let ages = |tokens: &Held| {
            (
                access_status(tokens, context.min_ttl, now),
                id_token_status(tokens, context.min_ttl, now),
            )
        };
        (*access, *id_token) = ages(tokens);
        let min_ttl = context.min_ttl;
        let renews = (wanted(OpenIdField::AccessToken)
            && *access == Status::Expired
            && may_bring_access(tokens, min_ttl, now))
            || (wanted(OpenIdField::IdToken)
                && *id_token == Status::Expired
                && may_bring_id_token(tokens, min_ttl));
        // What the provider gave a moment ago is the best that it gives.
        if !renews || is_just_renewed(tokens.renewed(), now) {
            return Ok(source);
        }
        match self.renew(tokens).await {
            Renewal::Renewed => {
                let held = self.held(&context.session.id).await?;
                let Some(renewed) = held.iter().find(|held| held.key == tokens.key) else {
                    return Ok(Source::None(Status::Missing));
                };
                *tokens = Arc::clone(renewed);
                (*access, *id_token) = ages(tokens);
            }
            Renewal::Impossible(status) => {
                let failing = |current: Status| {
                    if current == Status::Expired {
                        status
                    } else {
                        current
                    }
                };
                (*access, *id_token) = (failing(*access), failing(*id_token));
            }
            Renewal::Unavailable if context.options.on_unresolved == OnUnresolved::Fail => {
                return Err(Error::ProviderUnavailable(
                    "expired tokens could not be renewed now".into(),
                ));
            }
            Renewal::Unavailable => {}
        }
        Ok(source)
    }

    /// The tokens that a provider's placeholders mean.
    fn pick(&self, held: &[Arc<Held>], provider: Option<&str>, context: &Context) -> Source {
        let named =
            provider.or((!context.provider.is_empty()).then_some(context.provider.as_str()));
        let found = match (named, held) {
            (Some(named), held) => held.iter().find(|tokens| tokens.provider == named),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        match found {
            Some(tokens) => Source::Held {
                tokens: Arc::clone(tokens),
                access: Status::Resolved,
                id_token: Status::Resolved,
            },
            // A session from a provider whose tokens are gone; or several providers, and none was named.
            None if named.is_none_or(|named| named == context.session.provider)
                && self.provider(&context.session.provider).is_ok() =>
            {
                Source::None(Status::Missing)
            }
            None => Source::None(Status::NotFederated),
        }
    }
}

/// Leaves a trace of each token that is about to be given away: its first release, and of a session in use one in each second.
fn note_releases(rendered: &Rendered, answers: &Answers<'_>) {
    for placeholder in &rendered.released {
        let Placeholder::OpenId { field, provider } = placeholder else {
            continue;
        };
        let Some(Source::Held { tokens, .. }) = answers.sources.get(provider) else {
            continue;
        };
        if tokens.is_first_release(field) {
            let (user, session, entries) = (
                &tokens.user_id,
                &tokens.key.session_id,
                rendered.values.len(),
            );
            tracing::info!(%user, %session, provider = tokens.provider, token = ?field, version = tokens.version, entries, "a provider token is released");
        }
    }
}

/// Whether a renewal may bring an access token that lasts: one after another in vain would only turn over the refresh token.
fn may_bring_access(tokens: &Held, min_ttl: Duration, now: Timestamp) -> bool {
    tokens.renewed().is_none_or(|renewed| {
        let life = renewed.until(tokens.access_expire_time);
        life >= min_ttl || now >= renewed.plus(life / 2)
    })
}

/// Whether a renewal may bring an ID token that lasts; not where the last one brought none, or none that was good enough when new.
fn may_bring_id_token(tokens: &Held, min_ttl: Duration) -> bool {
    let lasted = |renewed: Timestamp| {
        tokens
            .id_token
            .as_ref()
            .is_some_and(|token| renewed.until(token.expire_time) >= MIN_LIFE.max(min_ttl))
    };
    tokens.renewed().is_none_or(lasted)
}

fn is_just_renewed(renewed: Option<Timestamp>, now: Timestamp) -> bool {
    renewed.is_some_and(|renewed| now < renewed.plus(JUST_RENEWED))
}

/// How an access token stands for a call that wants it to last `min_ttl`.
fn access_status(tokens: &Held, min_ttl: Duration, now: Timestamp) -> Status {
    life_status(tokens.access_expire_time, tokens.renewed(), min_ttl, now)
}

fn id_token_status(tokens: &Held, min_ttl: Duration, now: Timestamp) -> Status {
    tokens.id_token.as_ref().map_or(Status::Missing, |token| {
        life_status(token.expire_time, tokens.renewed(), min_ttl, now)
    })
}

fn life_status(
    expire_time: Timestamp,
    renewed: Option<Timestamp>,
    min_ttl: Duration,
    now: Timestamp,
) -> Status {
    let left = now.until(expire_time);
    let just_renewed = is_just_renewed(renewed, now) && !left.is_zero() && left >= min_ttl;
    if left >= MIN_LIFE.max(min_ttl) || just_renewed {
        Status::Resolved
    } else {
        Status::Expired
    }
}

fn unresolved(error: RenderError) -> Error {
    match error {
        RenderError::Unresolved(outcomes) => {
            Error::Unresolved(outcomes.into_iter().map(failing).collect())
        }
        RenderError::OutputTooLarge => Error::invalid("entries", "resolve to more than 4 MiB"),
    }
}

fn failing(outcome: Outcome) -> Unresolved {
    let reason = match outcome.status {
        Status::Expired => UnresolvedReason::Expired,
        Status::NotFederated => UnresolvedReason::NotFederated,
        Status::NotAllowed => UnresolvedReason::NotAllowed,
        Status::ReconnectRequired => UnresolvedReason::ReconnectRequired,
        Status::UnknownName => UnresolvedReason::UnknownName,
        Status::UnsafeValue => UnresolvedReason::UnsafeValue,
        Status::Missing | Status::Resolved => UnresolvedReason::Missing,
    };
    Unresolved {
        entry: outcome.entry,
        placeholder: outcome.placeholder,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(left: i64, age: i64, min_ttl: u64) -> Status {
        let now = Timestamp::from_secs(1_000_000);
        let at = |seconds| Timestamp::from_secs(1_000_000 + seconds);
        life_status(at(left), Some(at(-age)), Duration::from_secs(min_ttl), now)
    }

    #[test]
    fn less_than_thirty_seconds_left_counts_as_expired() {
        assert_eq!(
            [status(30, 60, 0), status(29, 60, 0), status(0, 60, 0)],
            [Status::Resolved, Status::Expired, Status::Expired]
        );
    }

    #[test]
    fn min_ttl_raises_the_bar() {
        assert_eq!(
            [status(119, 60, 120), status(120, 60, 120)],
            [Status::Expired, Status::Resolved]
        );
    }

    #[test]
    fn a_token_just_renewed_is_good_whatever_its_life_but_not_against_min_ttl() {
        assert_eq!(
            [status(5, 0, 0), status(5, 9, 0), status(5, 10, 0)],
            [Status::Resolved, Status::Resolved, Status::Expired]
        );
        assert_eq!(
            [status(5, 0, 6), status(0, 0, 0)],
            [Status::Expired, Status::Expired]
        );
    }
}
