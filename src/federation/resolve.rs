//! Resolving: fetches what the templates of a call need, then renders them in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Federation;
use super::answers::{Answers, Source};
use super::context::ResolveContext;
use super::destination;
use super::in_flight::Renewal;
use super::tokens::ProviderTokens;
use crate::clock::Timestamp;
use crate::error::{Error, Reason, Result, Unresolved};
use crate::metrics::Token;
use crate::provider::Provider;
use crate::template::batch::Batch;
use crate::template::outcome::{Outcome, RenderError, Rendered};
use crate::template::vocabulary::{OnUnresolved, OpenIdField, Placeholder, Status};

/// A token that expires within this time counts as expired.
pub const MIN_LIFE: Duration = Duration::from_secs(30);
/// A token that was renewed less than this ago is handed out even if it expires soon, so that
/// short-lived tokens are not renewed at each call.
const JUST_RENEWED: Duration = Duration::from_secs(10);

impl Federation {
    /// Replaces the placeholders by the user's values.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ProviderNotFound`], [`Error::Unresolved`] with all failing
    /// placeholders, [`Error::DestinationNotAllowed`], [`Error::OutputTooLarge`],
    /// [`Error::ProviderUnavailable`], and the store's errors.
    pub async fn resolve(
        &self,
        batch: &Batch,
        context: &ResolveContext,
        now: Timestamp,
    ) -> Result<Rendered> {
        if !context.provider.is_empty() {
            Provider::find(self.providers(), &context.provider)?;
        }
        let needs = batch.needs(context.options.user_authored);
        let mut sources = BTreeMap::new();
        if !needs.openid.is_empty() || needs.subject {
            let tokens = self.tokens(&context.state.session.id).await?;
            for (provider, fields) in &needs.openid {
                sources.insert(
                    provider.clone(),
                    self.source(&tokens, provider.as_deref(), fields, context, now)
                        .await?,
                );
            }
            sources
                .entry(None)
                .or_insert_with(|| self.pick(&tokens, None, context));
        }
        let answers = Answers {
            context,
            sources,
            templates: &self.0.templates,
            providers: self.providers(),
        };
        let rendered = batch
            .render(&answers, context.options)
            .map_err(unresolved)?;
        destination::check(batch, &rendered, &self.0.templates.http_hosts)?;
        self.note_releases(&rendered, &answers);
        Ok(rendered)
    }

    /// The tokens that a provider's placeholders refer to, renewed if the templates need it.
    async fn source(
        &self,
        tokens: &[Arc<ProviderTokens>],
        provider: Option<&str>,
        fields: &BTreeSet<OpenIdField>,
        context: &ResolveContext,
        now: Timestamp,
    ) -> Result<Source> {
        let mut source = self.pick(tokens, provider, context);
        let Source::Tokens {
            tokens,
            access,
            id_token,
        } = &mut source
        else {
            return Ok(source);
        };
        let wanted = |field| fields.contains(&field);
        let ages = |tokens: &ProviderTokens| {
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
                && may_bring_id_token(tokens, min_ttl, now));
        // If the tokens were renewed a moment ago, another renewal would bring nothing better.
        if !renews || is_just_renewed(tokens.renewed(), now) {
            return Ok(source);
        }
        match self.renew(tokens).await {
            Renewal::Renewed => {
                let all = self.tokens(&context.state.session.id).await?;
                let Some(renewed) = all.iter().find(|new| new.key == tokens.key) else {
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
            Renewal::Unavailable { retry_after }
                if context.options.on_unresolved == OnUnresolved::Fail =>
            {
                return Err(Error::RenewalPostponed { retry_after });
            }
            Renewal::Unavailable { .. } => {}
        }
        Ok(source)
    }

    /// The tokens that a provider's placeholders refer to.
    fn pick(
        &self,
        tokens: &[Arc<ProviderTokens>],
        provider: Option<&str>,
        context: &ResolveContext,
    ) -> Source {
        let named =
            provider.or((!context.provider.is_empty()).then_some(context.provider.as_str()));
        let found = match (named, tokens) {
            (Some(named), tokens) => tokens.iter().find(|tokens| tokens.provider == named),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        match found {
            Some(tokens) => Source::Tokens {
                tokens: Arc::clone(tokens),
                access: Status::Resolved,
                id_token: Status::Resolved,
            },
            // The tokens of the session's own provider were deleted, or there are several providers
            // and none was named.
            None if named.is_none_or(|named| named == context.state.session.provider)
                && Provider::find(self.providers(), &context.state.session.provider).is_ok() =>
            {
                Source::None(Status::Missing)
            }
            None => Source::None(Status::NotFederated),
        }
    }

    /// Counts the release of each token, and logs it, but only a caller's first since the tokens
    /// were read: about one line a second for a session in use.
    fn note_releases(&self, rendered: &Rendered, answers: &Answers<'_>) {
        let (caller, destination) = (&answers.context.caller, answers.context.destination);
        for placeholder in &rendered.released {
            let Placeholder::OpenId { field, provider } = placeholder else {
                continue;
            };
            let Some(Source::Tokens { tokens, .. }) = answers.sources.get(provider) else {
                continue;
            };
            let token = if *field == OpenIdField::IdToken {
                Token::Id
            } else {
                Token::Access
            };
            self.0.metrics.releases.of((destination, token)).inc();
            if tokens.is_first_release(caller, field) {
                let (user, session) = (&tokens.user_id, &tokens.key.session_id);
                let entries = rendered.values.len();
                tracing::info!(caller = &**caller, %user, %session, provider = tokens.provider, token = ?field, version = tokens.version, entries, "a provider token is released");
            }
        }
    }
}

/// Whether a renewal may bring an access token that lasts `min_ttl`. If the last one did not, half
/// of its lifetime has to pass first, because renewing at each call would only rotate the refresh
/// token.
fn may_bring_access(tokens: &ProviderTokens, min_ttl: Duration, now: Timestamp) -> bool {
    tokens.renewed().is_none_or(|renewed| {
        renewed.until(tokens.access_expire_time) >= min_ttl
            || is_half_over(renewed, tokens.access_expire_time, now)
    })
}

/// Whether a renewal may bring an ID token that lasts. If the last one brought none, none that could
/// be verified yet, or one that expired too soon even when it was new, half of the access token's
/// lifetime has to pass first.
fn may_bring_id_token(tokens: &ProviderTokens, min_ttl: Duration, now: Timestamp) -> bool {
    tokens.renewed().is_none_or(|renewed| {
        let lasted = |expire_time| renewed.until(expire_time) >= MIN_LIFE.max(min_ttl);
        let id_token = tokens.id_token.as_ref();
        id_token.is_some_and(|token| lasted(token.expire_time))
            || is_half_over(renewed, tokens.access_expire_time, now)
    })
}

/// Whether half of a token's lifetime has passed.
fn is_half_over(renewed: Timestamp, expire_time: Timestamp, now: Timestamp) -> bool {
    now >= renewed.plus(renewed.until(expire_time) / 2)
}

fn is_just_renewed(renewed: Option<Timestamp>, now: Timestamp) -> bool {
    renewed.is_some_and(|renewed| now < renewed.plus(JUST_RENEWED))
}

/// Whether an access token lasts long enough for a call that needs `min_ttl`.
fn access_status(tokens: &ProviderTokens, min_ttl: Duration, now: Timestamp) -> Status {
    life_status(tokens.access_expire_time, tokens.renewed(), min_ttl, now)
}

fn id_token_status(tokens: &ProviderTokens, min_ttl: Duration, now: Timestamp) -> Status {
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
        RenderError::OutputTooLarge => Error::OutputTooLarge,
    }
}

fn failing(outcome: Outcome) -> Unresolved {
    Unresolved {
        entry: outcome.entry,
        placeholder: outcome.placeholder,
        // Every failing outcome has a reason.
        reason: outcome.status.reason().unwrap_or(Reason::Internal),
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
    fn a_longer_min_ttl_makes_a_token_count_as_expired() {
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
