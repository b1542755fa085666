//! What the user's provider tokens are for.

use std::time::Duration;

use countersign::grpc::proto::{
    GetTokenStatusRequest, RequestBody, ResolveEndpointRequest, ResolveMcpServerRequest,
    ResolvePlaceholdersRequest, Sink, Subject, TokenPair, resolve_endpoint_request,
    resolve_mcp_server_request, subject,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic_types::StatusExt as _;

use crate::World;
use crate::objects::{to_json, to_wire};
use crate::story::{Outcome, call, ensure, got, present, refused, short, step};

/// The number of calls that need the expired token at the same time.
const CROWD: usize = 20;

/// The user acts for themself.
fn acting(tokens: &TokenPair) -> Subject {
    Subject {
        subject: Some(subject::Subject::AccessToken(tokens.access_token.clone())),
    }
}

/// A JSON object with its credentials shortened.
fn shown(mut object: Value) -> String {
    shorten(&mut object);
    object.to_string()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("Bearer ") => {
            *text = format!("Bearer {}", short(&text[7..]));
        }
        Value::String(text) if text.starts_with("eyJ") => *text = short(text),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(members) => members.values_mut().for_each(shorten),
        _ => {}
    }
}

impl World {
    pub async fn resolve_endpoint(&self, tokens: &TokenPair) -> Outcome {
        step("An LLM endpoint is called as Bea: her provider token goes into its headers");
        let endpoint = json!({
            "baseURL": "https://llm.example.com/v1",
            "headers": {
                "Authorization": "Bearer {{LIBRECHAT_OPENID_TOKEN}}",
                "X-User": "{{LIBRECHAT_USER_EMAIL}}",
                "X-Conversation": "{{LIBRECHAT_BODY_CONVERSATIONID}}",
                "X-Region": "${TOUR_REGION}",
            },
        });
        call("FederationService.ResolveEndpoint", &endpoint.to_string());
        let request = ResolveEndpointRequest {
            subject: Some(acting(tokens)),
            target: Some(resolve_endpoint_request::Target::Endpoint(to_wire(
                endpoint,
            ))),
            body: Some(RequestBody {
                conversation_id: Some("c-42".into()),
                ..RequestBody::default()
            }),
            ..ResolveEndpointRequest::default()
        };
        let answer = self
            .federation
            .clone()
            .resolve_endpoint(request)
            .await?
            .into_inner();
        got(&format!(
            "{} {}",
            answer.base_url,
            shown(json!(answer.headers))
        ));
        let wanted = json!({
            "Authorization": format!("Bearer {}", self.provider.access_token()),
            "X-User": "bea@example.com",
            "X-Conversation": "c-42",
            "X-Region": "eu-north",
        });
        ensure(
            json!(answer.headers) == wanted,
            "every header has its value",
        )
    }

    pub async fn resolve_mcp_servers(&self, tokens: &TokenPair) -> Outcome {
        step("Two MCP servers get their configuration for Bea");
        let remote = json!({
            "type": "streamable-http",
            "url": "https://mcp.example.com/search?user={{LIBRECHAT_OPENID_USER_EMAIL}}",
            "headers": { "Authorization": "Bearer {{LIBRECHAT_OPENID_ACCESS_TOKEN}}", "X-Groups": "{{LIBRECHAT_OPENID_CLAIM_groups}}" },
        });
        let remote = self.resolve_mcp_server(tokens, remote).await?;
        let bearer = format!("Bearer {}", self.provider.access_token());
        ensure(
            remote["url"] == "https://mcp.example.com/search?user=bea%40example.com",
            "the address is encoded for a URL",
        )?;
        ensure(
            remote["headers"] == json!({ "Authorization": bearer, "X-Groups": "research,staff" }),
            "the headers have their values",
        )?;
        let local = json!({
            "type": "stdio",
            "command": "research-tool",
            "args": ["--user", "{{LIBRECHAT_USER_USERNAME}}"],
            "env": { "ID_TOKEN": "{{LIBRECHAT_OPENID_ID_TOKEN}}" },
        });
        let local = self.resolve_mcp_server(tokens, local).await?;
        ensure(
            local["args"] == json!(["--user", "bea"]),
            "the arguments have their values",
        )?;
        ensure(
            local["env"]["ID_TOKEN"] == self.provider.id_token(),
            "the variable has the ID token",
        )
    }

    async fn resolve_mcp_server(&self, tokens: &TokenPair, server: Value) -> Outcome<Value> {
        call("FederationService.ResolveMcpServer", &server.to_string());
        let target = Some(resolve_mcp_server_request::Target::Server(to_wire(server)));
        let request = ResolveMcpServerRequest {
            subject: Some(acting(tokens)),
            target,
            ..ResolveMcpServerRequest::default()
        };
        let answer = self
            .federation
            .clone()
            .resolve_mcp_server(request)
            .await?
            .into_inner();
        let server = to_json(present(answer.server, "server")?);
        got(&shown(server.clone()));
        Ok(server)
    }

    pub async fn fail_closed(&self, tokens: &TokenPair) -> Outcome {
        step("Ann has no provider: nothing is sent in place of a token she does not have");
        call(
            "FederationService.ResolvePlaceholders",
            "Authorization: Bearer {{LIBRECHAT_OPENID_TOKEN}}",
        );
        let status = refused(
            self.federation
                .clone()
                .resolve_placeholders(bearer(tokens))
                .await,
            "NOT_FEDERATED",
        )?;
        let failing = present(
            status.get_details_precondition_failure(),
            "PreconditionFailure",
        )?
        .violations;
        for one in &failing {
            got(&format!(
                "entry {}, placeholder {}",
                one.subject, one.description
            ));
        }
        ensure(
            failing.len() == 1 && failing[0].subject == "Authorization",
            "the failing entry is named",
        )
    }

    pub async fn renew_once(&self, tokens: &TokenPair) -> Outcome {
        step(
            "Ten minutes later Bea's provider token has expired, and 20 calls need it at the same moment",
        );
        self.clock.advance(Duration::from_mins(10));
        let (old, before) = (self.provider.access_token(), self.provider.renewals());
        call(
            "FederationService.ResolvePlaceholders",
            &format!("{CROWD} times at once"),
        );
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (mut federation, request) = (self.federation.clone(), bearer(tokens));
            crowd.spawn(async move { federation.resolve_placeholders(request).await });
        }
        let mut headers = Vec::new();
        while let Some(answer) = crowd.join_next().await {
            headers.push(
                answer??
                    .into_inner()
                    .entries
                    .remove("Authorization")
                    .unwrap_or_default(),
            );
        }
        let renewals = self.provider.renewals() - before;
        got(&format!(
            "{} answers, the first {}; renewals at the provider: {renewals}",
            headers.len(),
            shown(json!(headers[0]))
        ));
        let new = format!("Bearer {}", self.provider.access_token());
        ensure(
            renewals == 1 && old != self.provider.access_token(),
            "the token was renewed once",
        )?;
        ensure(
            headers.len() == CROWD && headers.iter().all(|header| *header == new),
            "all got the new token",
        )?;
        self.token_status(tokens).await
    }

    async fn token_status(&self, tokens: &TokenPair) -> Outcome {
        call("FederationService.GetTokenStatus", "of all providers");
        let request = GetTokenStatusRequest {
            subject: Some(acting(tokens)),
            ..GetTokenStatusRequest::default()
        };
        let held = self
            .federation
            .clone()
            .get_token_status(request)
            .await?
            .into_inner()
            .tokens;
        for token in &held {
            let (kind, state, end) = (
                token.kind().as_str_name(),
                token.state().as_str_name(),
                present(token.expire_time, "end")?,
            );
            got(&format!("{kind}, {state}, until {end}"));
        }
        ensure(
            held.len() == 2 && held.iter().all(|token| token.refreshable),
            "access and ID token are held and can be renewed",
        )
    }
}

fn bearer(tokens: &TokenPair) -> ResolvePlaceholdersRequest {
    ResolvePlaceholdersRequest {
        subject: Some(acting(tokens)),
        sink: Sink::Header.into(),
        entries: [(
            "Authorization".to_owned(),
            "Bearer {{LIBRECHAT_OPENID_TOKEN}}".to_owned(),
        )]
        .into(),
        ..ResolvePlaceholdersRequest::default()
    }
}
