//! `countersign.v1.FederationService`.

mod convert;

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Request, Response, Status};

use self::convert::{outcomes, text, texts, token_status};
use super::api::{Api, Asked, answer};
use super::caller::CallerContext;
use super::convert::{duration, json_object, proto_struct};
use super::proto::federation_service_server::FederationService;
use super::proto::{self, resolve_endpoint_request, resolve_mcp_server_request};
use crate::auth::Subject;
use crate::clock::Timestamp;
use crate::config::callers::Permission;
use crate::error::{Result, Violations};
use crate::federation::placeholder::check_custom_name;
use crate::federation::render::{Options, Rendered};
use crate::federation::request::{Entry, LimitError, Request as Templates};
use crate::federation::resolve::Context;
use crate::federation::target::{Target, Violation};
use crate::federation::vocabulary::{OnUnresolved, Sink};

/// What the three Resolve requests share.
struct Wish {
    subject: Option<proto::Subject>,
    body: HashMap<String, String>,
    custom_vars: HashMap<String, String>,
    provider: String,
    min_ttl: Option<prost_types::Duration>,
    on_unresolved: i32,
    user_authored: bool,
}

macro_rules! wish {
    ($message:expr) => {
        Wish {
            subject: $message.subject,
            body: $message.body,
            custom_vars: $message.custom_vars,
            provider: $message.provider,
            min_ttl: $message.min_ttl,
            on_unresolved: $message.on_unresolved,
            user_authored: $message.user_authored,
        }
    };
}

#[tonic::async_trait]
impl FederationService for Api {
    async fn resolve_placeholders(
        &self,
        request: Request<proto::ResolvePlaceholdersRequest>,
    ) -> Result<Response<proto::ResolvePlaceholdersResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            let sink = violations.check("sink", sink(message.sink));
            let read = sink.map(|sink| entries(sink, message.entries, &mut violations));
            let (names, rendered) = self
                .resolve(&caller, read, wish!(message), violations, now)
                .await?;
            let values = names
                .into_iter()
                .zip(rendered.values)
                .filter_map(|(name, value)| Some((name, value?)));
            Ok(proto::ResolvePlaceholdersResponse {
                entries: values.collect(),
                outcomes: outcomes(rendered.outcomes),
            })
        })
        .await
    }

    async fn resolve_endpoint(
        &self,
        request: Request<proto::ResolveEndpointRequest>,
    ) -> Result<Response<proto::ResolveEndpointResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            let read =
                message
                    .target
                    .map(|resolve_endpoint_request::Target::Endpoint(endpoint)| {
                        Target::endpoint(json_object(endpoint))
                    });
            let read = shaped("endpoint", read, &mut violations);
            let (
                target,
                Rendered {
                    values,
                    outcomes: reached,
                    ..
                },
            ) = self
                .resolve(&caller, read, wish!(message), violations, now)
                .await?;
            let mut object = target.fill(values);
            Ok(proto::ResolveEndpointResponse {
                base_url: text(object.remove("baseURL")),
                api_key: text(object.remove("apiKey")),
                headers: texts(object.remove("headers")),
                outcomes: outcomes(reached),
            })
        })
        .await
    }

    async fn resolve_mcp_server(
        &self,
        request: Request<proto::ResolveMcpServerRequest>,
    ) -> Result<Response<proto::ResolveMcpServerResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            // Only a target of the operator's may say that its URL holds a token.
            let read = message
                .target
                .map(|resolve_mcp_server_request::Target::Server(server)| {
                    Target::mcp_server(json_object(server), false)
                });
            let read = shaped("server", read, &mut violations);
            let (
                target,
                Rendered {
                    values,
                    outcomes: reached,
                    ..
                },
            ) = self
                .resolve(&caller, read, wish!(message), violations, now)
                .await?;
            Ok(proto::ResolveMcpServerResponse {
                server: Some(proto_struct(target.fill(values))),
                outcomes: outcomes(reached),
            })
        })
        .await
    }

    async fn get_token_status(
        &self,
        request: Request<proto::GetTokenStatusRequest>,
    ) -> Result<Response<proto::GetTokenStatusResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            let subject = self.subject(
                message.subject,
                &caller,
                Permission::FederationActAs,
                &mut violations,
            )?;
            let session = self
                .auth
                .acting(&violations.finish_with(subject)?, now)
                .await?;
            let tokens = self
                .federation
                .token_status(&session.id, &message.provider)
                .await?;
            Ok(proto::GetTokenStatusResponse {
                tokens: tokens.into_iter().map(token_status).collect(),
            })
        })
        .await
    }

    async fn delete_tokens(
        &self,
        request: Request<proto::DeleteTokensRequest>,
    ) -> Result<Response<proto::DeleteTokensResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let Self {
            auth, federation, ..
        } = self.clone();
        let mut violations = Violations::default();
        let subject = self.subject(
            message.subject,
            &caller,
            Permission::FederationActAs,
            &mut violations,
        )?;
        let subject = violations.finish_with(subject)?;
        self.run_to_end(async move {
            match subject {
                Subject::User(_) => {
                    let who = auth.who(&subject, now).await?;
                    federation
                        .delete_user_tokens(who.user_id(), &message.provider)
                        .await?;
                }
                Subject::AccessToken(_) | Subject::Session(_) => {
                    let session = auth.acting(&subject, now).await?;
                    federation
                        .delete_session_tokens(&session.id, &message.provider)
                        .await?;
                }
            }
            Ok(proto::DeleteTokensResponse {})
        })
        .await
    }
}

impl Api {
    /// Templates of the request are the caller's word, so they need permissions of their own.
    async fn resolve<T>(
        &self,
        caller: &CallerContext,
        read: Option<(T, Vec<Entry>)>,
        wish: Wish,
        mut violations: Violations,
        now: Timestamp,
    ) -> Result<(T, Rendered)> {
        caller.require(Permission::FederationInline)?;
        let read = read.and_then(|(target, entries)| {
            let templates = violations.check("entries", Templates::new(entries).map_err(limit))?;
            Some((target, templates))
        });
        if read
            .as_ref()
            .is_some_and(|(_, templates)| templates.needs_env(wish.user_authored))
        {
            caller.require(Permission::FederationTemplateEnv)?;
        }
        let subject = self.subject(
            wish.subject,
            caller,
            Permission::FederationActAs,
            &mut violations,
        )?;
        let min_ttl = violations
            .check("min_ttl", duration(wish.min_ttl))
            .flatten()
            .unwrap_or(Duration::ZERO);
        let on_unresolved = violations.check("on_unresolved", on_unresolved(wish.on_unresolved));
        for name in wish.custom_vars.keys() {
            violations.check(&format!("custom_vars[{name:?}]"), check_custom_name(name));
        }
        let (((target, templates), subject), on_unresolved) =
            violations.finish_with(read.zip(subject).zip(on_unresolved))?;
        let options = Options {
            on_unresolved,
            user_authored: wish.user_authored,
        };
        let session = self.auth.acting(&subject, now).await?;
        let context = Context {
            session,
            body: wish.body,
            custom_vars: wish.custom_vars,
            provider: wish.provider,
            min_ttl,
            options,
        };
        Ok((
            target,
            self.federation.resolve(&templates, &context, now).await?,
        ))
    }
}

/// Sorted by name, so that outcomes come in a stable order.
fn entries(
    sink: Sink,
    templates: HashMap<String, String>,
    violations: &mut Violations,
) -> (Vec<String>, Vec<Entry>) {
    let mut templates: Vec<_> = templates.into_iter().collect();
    templates.sort();
    let mut names = Vec::with_capacity(templates.len());
    let mut entries = Vec::with_capacity(templates.len());
    for (name, template) in templates {
        entries.extend(violations.check(
            &format!("entries[{name:?}]"),
            Entry::inline(name.clone(), &template, sink),
        ));
        names.push(name);
    }
    (names, entries)
}

fn sink(sink: i32) -> Result<Sink, &'static str> {
    match proto::Sink::try_from(sink) {
        Ok(proto::Sink::Header) => Ok(Sink::Header),
        Ok(proto::Sink::Url) => Ok(Sink::Url),
        Ok(proto::Sink::Env) => Ok(Sink::Env),
        Ok(proto::Sink::Text) => Ok(Sink::Text),
        Ok(proto::Sink::Unspecified) | Err(_) => Err("is required"),
    }
}

fn on_unresolved(value: i32) -> Result<OnUnresolved, &'static str> {
    match proto::OnUnresolved::try_from(value) {
        Ok(proto::OnUnresolved::Unspecified | proto::OnUnresolved::Fail) => Ok(OnUnresolved::Fail),
        Ok(proto::OnUnresolved::Omit) => Ok(OnUnresolved::Omit),
        Ok(proto::OnUnresolved::Empty) => Ok(OnUnresolved::Empty),
        Ok(proto::OnUnresolved::Keep) => Ok(OnUnresolved::Keep),
        Err(_) => Err("is not one of its values"),
    }
}

fn limit(error: LimitError) -> &'static str {
    match error {
        LimitError::Entries => "are more than 1,000",
        LimitError::TemplateBytes => "are more than 1 MiB",
        LimitError::Placeholders => "hold more than 10,000 placeholders",
        LimitError::EntryName => "have a name of more than 1,024 bytes",
    }
}

/// A target that was given and has its shape.
fn shaped<T>(
    object: &str,
    read: Option<Result<T, Vec<Violation>>>,
    violations: &mut Violations,
) -> Option<T> {
    match read {
        Some(Ok(target)) => return Some(target),
        Some(Err(wrong)) => wrong
            .iter()
            .for_each(|one| violations.add(format!("{object}.{}", one.field), one.description)),
        None => violations.add(object, "is required"),
    }
    None
}
