//! Endpoints and MCP servers in LibreChat's format, sent inline with the request.

use std::collections::BTreeMap;

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::calls::by_token;
use crate::support::federated::failures;
use crate::support::provider::Provider;
use crate::support::shape::{json_of, struct_of};
use crate::support::{World, on_each_engine, reason};

pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("COUNTERSIGN_TEMPLATE_ENV", "API_KEY,HOST"),
    ("API_KEY", "sk-1"),
    ("HOST", "https://mcp.example.com"),
];
const ENDPOINT: &str = "
name: 'CognitoProtectedAPI'
apiKey: '${API_KEY}'
baseURL: 'https://api.example.com'
headers:
  Authorization: 'Bearer {{LIBRECHAT_OPENID_TOKEN}}'
  X-Cognito-User-ID: '{{LIBRECHAT_OPENID_USER_ID}}'
  X-User-Email: '{{LIBRECHAT_OPENID_USER_EMAIL}}'
models:
  default: ['gpt-4']
";
const SERVERS: &str = "
aws-cognito-service:
  command: node
  args:
    - server.js
  env:
    COGNITO_ACCESS_TOKEN: '{{LIBRECHAT_OPENID_ACCESS_TOKEN}}'
    COGNITO_ID_TOKEN: '{{LIBRECHAT_OPENID_ID_TOKEN}}'
    USER_SUB: '{{LIBRECHAT_OPENID_USER_ID}}'
    USER_EMAIL: '{{LIBRECHAT_OPENID_USER_EMAIL}}'
cognito-http-service:
  type: sse
  url: 'https://mcp.example.com/sse'
  headers:
    Authorization: 'Bearer {{LIBRECHAT_OPENID_TOKEN}}'
    X-Cognito-ID-Token: '{{LIBRECHAT_OPENID_ID_TOKEN}}'
    X-User-Info: '{{LIBRECHAT_OPENID_USER_EMAIL}}'
azure-ad-service:
  command: node
  args:
    - azure-server.js
  env:
    AZURE_ACCESS_TOKEN: '{{LIBRECHAT_OPENID_ACCESS_TOKEN}}'
    AZURE_ID_TOKEN: '{{LIBRECHAT_OPENID_ID_TOKEN}}'
    AAD_USER_OID: '{{LIBRECHAT_OPENID_USER_ID}}'
";

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

pub(crate) async fn server(
    world: &World<'_>,
    access_token: &str,
    server: &Value,
) -> Result<Value, Status> {
    let request = server_request(access_token, server);
    Ok(json_of(
        world
            .federation()
            .resolve_mcp_server(request)
            .await?
            .into_inner()
            .server
            .expect("a server"),
    ))
}

pub(crate) fn server_request(access_token: &str, server: &Value) -> ResolveMcpServerRequest {
    let target = resolve_mcp_server_request::Target::Server(struct_of(server));
    ResolveMcpServerRequest {
        subject: by_token(access_token),
        target: Some(target),
        ..Default::default()
    }
}

pub(crate) fn endpoint_request(access_token: &str, endpoint: &Value) -> ResolveEndpointRequest {
    let target = resolve_endpoint_request::Target::Endpoint(struct_of(endpoint));
    ResolveEndpointRequest {
        subject: by_token(access_token),
        target: Some(target),
        ..Default::default()
    }
}

#[tokio::test]
async fn the_seeds_endpoint_gets_the_users_token_and_the_operators_key() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let bearer = world.bearer(&tokens.access_token).await.expect("resolved");
        let request = endpoint_request(&tokens.access_token, &yaml(ENDPOINT));
        let answer = world
            .federation()
            .resolve_endpoint(request)
            .await
            .expect("resolved")
            .into_inner();
        assert_eq!(
            (answer.base_url.as_str(), answer.api_key.as_str()),
            ("https://api.example.com", "sk-1")
        );
        let headers: BTreeMap<_, _> = answer.headers.into_iter().collect();
        let expected = [
            ("Authorization", format!("Bearer {bearer}")),
            ("X-Cognito-User-ID", "ann".to_owned()),
            ("X-User-Email", "ann@example.org".to_owned()),
        ];
        assert_eq!(
            headers,
            expected
                .map(|(name, value)| (name.to_owned(), value))
                .into()
        );
        assert!(
            answer
                .outcomes
                .iter()
                .any(|one| one.entry == "headers.Authorization"
                    && one.status() == OutcomeStatus::Resolved)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_seeds_servers_get_the_users_tokens_and_keep_the_rest() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let access = world.bearer(&tokens.access_token).await.expect("resolved");
        let id_token = world.token(&tokens.access_token, "ID_TOKEN").await.expect("resolved");
        let servers = yaml(SERVERS);
        for (name, expected) in [
            (
                "aws-cognito-service",
                json!({ "command": "node", "args": ["server.js"], "env": {
                    "COGNITO_ACCESS_TOKEN": access, "COGNITO_ID_TOKEN": id_token, "USER_SUB": "ann", "USER_EMAIL": "ann@example.org" } }),
            ),
            (
                "cognito-http-service",
                json!({ "type": "sse", "url": "https://mcp.example.com/sse", "headers": {
                    "Authorization": format!("Bearer {access}"), "X-Cognito-ID-Token": id_token, "X-User-Info": "ann@example.org" } }),
            ),
            (
                "azure-ad-service",
                json!({ "command": "node", "args": ["azure-server.js"], "env": {
                    "AZURE_ACCESS_TOKEN": access, "AZURE_ID_TOKEN": id_token, "AAD_USER_OID": "ann" } }),
            ),
        ] {
            assert_eq!(server(&world, &tokens.access_token, &servers[name]).await.expect(name), expected);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn for_a_local_user_both_fail_and_every_failing_field_is_named() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.signed_in("local@example.com").await;
        let request = endpoint_request(&tokens.access_token, &yaml(ENDPOINT));
        let failed = world
            .federation()
            .resolve_endpoint(request)
            .await
            .expect_err("not federated");
        let of_server = server(
            &world,
            &tokens.access_token,
            &yaml(SERVERS)["cognito-http-service"],
        )
        .await
        .expect_err("not federated");
        for (status, names) in [
            (
                failed,
                ["Authorization", "X-Cognito-User-ID", "X-User-Email"],
            ),
            (
                of_server,
                ["Authorization", "X-Cognito-ID-Token", "X-User-Info"],
            ),
        ] {
            assert_eq!(
                reason(&status),
                (Code::FailedPrecondition, "NOT_FEDERATED".to_owned())
            );
            let named: Vec<_> = failures(&status)
                .into_iter()
                .map(|(reason, entry, _)| (reason, entry))
                .collect();
            assert_eq!(
                named,
                names.map(|name| ("NOT_FEDERATED".to_owned(), format!("headers.{name}")))
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_whose_token_is_omitted_loses_only_that_field() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.signed_in("local@example.com").await;
        let target = resolve_mcp_server_request::Target::Server(struct_of(
            &yaml(SERVERS)["cognito-http-service"],
        ));
        let request = ResolveMcpServerRequest {
            subject: by_token(&tokens.access_token),
            target: Some(target),
            on_unresolved: OnUnresolved::Omit.into(),
            ..Default::default()
        };
        let answer = world
            .federation()
            .resolve_mcp_server(request)
            .await
            .expect("answered")
            .into_inner();
        let expected =
            json!({ "type": "sse", "url": "https://mcp.example.com/sse", "headers": {} });
        assert_eq!(json_of(answer.server.expect("a server")), expected);
        assert!(
            answer.outcomes.len() == 3
                && answer
                    .outcomes
                    .iter()
                    .all(|one| one.status() == OutcomeStatus::NotFederated)
        );
        world.end().await;
    })
    .await;
}
