//! `countersign.v1.FederationService`.

mod convert;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use self::convert::{body_fields, outcomes, text, texts, token_status};
use super::api::{Api, Calling, Incoming, answer};
use super::field_errors::{FieldErrors, in_field};
use super::json::{json_object, proto_struct};
use super::parse;
use super::proto::federation_service_server::FederationService;
use super::proto::{self, resolve_endpoint_request, resolve_mcp_server_request};
use crate::auth::Subject;
use crate::caller::Permission;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::federation::ResolveContext;
use crate::metrics::Destination;
use crate::template::batch::{Batch, Entry, LimitError, repeated_names};
use crate::template::object::{ShapeError, TemplateObject};
use crate::template::outcome::{Rendered, ResolveOptions};
use crate::template::parser::check_custom_name;
use crate::template::vocabulary::{OnUnresolved, Sink};

/// What the three Resolve requests share.
struct ResolveFields {
    /// The name of the field with the templates.
    templates: &'static str,
    destination: Destination,
    subject: Option<proto::Subject>,
    body: Option<proto::RequestBody>,
    custom_vars: HashMap<String, String>,
    provider: String,
    min_ttl: Option<prost_types::Duration>,
    on_unresolved: i32,
    user_authored: bool,
}

macro_rules! resolve_fields {
    ($templates:literal, $destination:ident, $message:expr) => {
        ResolveFields {
            templates: $templates,
            destination: Destination::$destination,
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let sink = errors.check("sink", sink(message.sink));
            let read = sink.map(|sink| entries(sink, message.entries, &mut errors));
            let (names, rendered) = self
                .resolve(
                    &caller,
                    read,
                    resolve_fields!("entries", Placeholders, message),
                    errors,
                    now,
                )
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let read =
                message
                    .target
                    .map(|resolve_endpoint_request::Target::Endpoint(endpoint)| {
                        let object = json_object("endpoint", endpoint, &mut errors);
                        TemplateObject::endpoint(object)
                    });
            let read = shaped("endpoint", read, &mut errors);
            let (
                target,
                Rendered {
                    values,
                    outcomes: reached,
                    ..
                },
            ) = self
                .resolve(
                    &caller,
                    read,
                    resolve_fields!("endpoint", Endpoint, message),
                    errors,
                    now,
                )
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            // Only a target that the operator configures may allow a token in its URL.
            let read = message
                .target
                .map(|resolve_mcp_server_request::Target::Server(server)| {
                    let object = json_object("server", server, &mut errors);
                    TemplateObject::mcp_server(object, false)
                });
            let read = shaped("server", read, &mut errors);
            let (
                target,
                Rendered {
                    values,
                    outcomes: reached,
                    ..
                },
            ) = self
                .resolve(
                    &caller,
                    read,
                    resolve_fields!("server", McpServer, message),
                    errors,
                    now,
                )
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let subject = self.subject(
                message.subject,
                &caller,
                Permission::FederationActAs,
                &mut errors,
            )?;
            let subject = errors.build(|| subject)?;
            let session_id = &self.auth.acting(&subject, now).await?.session.id;
            let tokens = self
                .federation
                .token_status(session_id, &message.provider)
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let Self {
            auth, federation, ..
        } = self.clone();
        let mut errors = FieldErrors::default();
        let subject = self.subject(
            message.subject,
            &caller,
            Permission::FederationActAs,
            &mut errors,
        )?;
        let subject = errors.build(|| subject)?;
        self.run_to_end(async move {
            match subject {
                Subject::User(_) => {
                    let subject = auth.resolve(&subject, now).await?;
                    federation
                        .delete_user_tokens(subject.user_id(), &message.provider)
                        .await?;
                }
                Subject::AccessToken { .. } | Subject::Session(_) => {
                    let state = auth.acting(&subject, now).await?;
                    federation
                        .delete_session_tokens(&state.session.id, &message.provider)
                        .await?;
                }
            }
            Ok(proto::DeleteTokensResponse {})
        })
        .await
    }
}

impl Api {
    /// Templates that come with the request need permissions of their own, because the caller alone
    /// vouches for them.
    async fn resolve<T>(
        &self,
        caller: &Calling,
        read: Option<(T, Vec<Entry>)>,
        fields: ResolveFields,
        mut errors: FieldErrors,
        now: Timestamp,
    ) -> Result<(T, Rendered)> {
        caller.require(Permission::FederationInline)?;
        let read = read.and_then(|(object, entries)| {
            let batch = errors.check(fields.templates, Batch::new(entries).map_err(limit))?;
            Some((object, batch))
        });
        let needs_env = |batch: &Batch| batch.needs_env(fields.user_authored);
        if read.as_ref().is_some_and(|(_, batch)| needs_env(batch)) {
            caller.require(Permission::FederationTemplateEnv)?;
        }
        let act_as = Permission::FederationActAs;
        let subject = self.subject(fields.subject, caller, act_as, &mut errors)?;
        let min_ttl = errors.check("min_ttl", parse::duration(fields.min_ttl));
        let on_unresolved = errors.check("on_unresolved", on_unresolved(fields.on_unresolved));
        let mut names: Vec<_> = fields.custom_vars.keys().collect();
        names.sort();
        for name in names {
            errors.check(&format!("custom_vars[{name:?}]"), check_custom_name(name));
        }
        let ((object, batch), subject, on_unresolved) =
            errors.build(|| Some((read?, subject?, on_unresolved?)))?;
        let context = ResolveContext {
            caller: Arc::clone(caller.name()),
            state: self.auth.acting(&subject, now).await?,
            body: fields.body.map(body_fields),
            custom_vars: fields.custom_vars,
            provider: fields.provider,
            min_ttl: min_ttl.flatten().unwrap_or(Duration::ZERO),
            destination: fields.destination,
            options: ResolveOptions {
                on_unresolved,
                user_authored: fields.user_authored,
            },
        };
        let rendered = self.federation.resolve(&batch, &context, now).await;
        let rendered = rendered.map_err(|error| in_field(fields.templates, error))?;
        Ok((object, rendered))
    }
}

/// Sorted by name, so that outcomes come in a stable order.
fn entries(
    sink: Sink,
    templates: HashMap<String, String>,
    errors: &mut FieldErrors,
) -> (Vec<String>, Vec<Entry>) {
    let mut templates: Vec<_> = templates.into_iter().collect();
    templates.sort();
    let given = templates.iter().map(|(name, _)| name.as_str());
    for name in repeated_names(sink, given) {
        errors.add(
            format!("entries[{name:?}]"),
            "is the same header as another one of these",
        );
    }
    let mut names = Vec::with_capacity(templates.len());
    let mut entries = Vec::with_capacity(templates.len());
    for (name, template) in templates {
        entries.extend(errors.check(
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
        LimitError::Entries => "has more than 1,000 templates",
        LimitError::TemplateBytes => "has templates of more than 1 MiB",
        LimitError::Placeholders => "has more than 10,000 placeholders",
        LimitError::EntryName => "has a name of more than 1,024 bytes",
    }
}

/// An object that was given and has the shape that it should have.
fn shaped<T>(
    object: &str,
    read: Option<Result<T, Vec<ShapeError>>>,
    errors: &mut FieldErrors,
) -> Option<T> {
    match read {
        Some(Ok(object)) => return Some(object),
        Some(Err(wrong)) => {
            for one in wrong {
                let separator = if one.field.is_empty() { "" } else { "." };
                errors.add(format!("{object}{separator}{}", one.field), one.description);
            }
        }
        None => errors.add(object, "is required"),
    }
    None
}
