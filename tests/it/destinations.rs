//! Where a user's provider token may be sent.

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::federated::{failures, map};
use crate::support::provider::Provider;
use crate::support::shape::json_of;
use crate::support::{World, on_each_engine, reason};
use crate::targets::{endpoint_request, server, server_request};

const VARIABLES: &[(&str, &str)] = &[
    ("COUNTERSIGN_TEMPLATE_ENV", "MESH,PLAIN"),
    ("MESH", "http://mcp.tools.svc.cluster.local:8080"),
    ("PLAIN", "http://plain.example"),
    ("COUNTERSIGN_HTTP_HOSTS", "mcp.internal, .svc.cluster.local"),
];

const BEARER: &str = "Bearer {{LIBRECHAT_OPENID_TOKEN}}";

async fn endpoint(
    world: &World<'_>,
    access_token: &str,
    endpoint: &Value,
) -> Result<ResolveEndpointResponse, Status> {
    let request = endpoint_request(access_token, endpoint);
    let answer = world.federation().resolve_endpoint(request).await?;
    Ok(answer.into_inner())
}

/// The entry whose URL a token may not be sent to.
fn refused(status: &Status) -> String {
    assert_eq!(
        reason(status),
        (Code::PermissionDenied, "DESTINATION_NOT_ALLOWED".to_owned())
    );
    let info = status.get_details_error_info().expect("info");
    assert!(status.message().contains(&info.metadata["entry"]));
    info.metadata["entry"].clone()
}

#[tokio::test]
async fn a_token_goes_to_another_machine_only_by_https_or_to_a_listed_host() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        for url in [
            "https://api.example.com/v1",
            "http://localhost:11434/v1",
            "http://127.0.0.1:8080",
            "http://mcp.internal/v1",
            "${MESH}/mcp",
        ] {
            let headers = json!({ "Authorization": BEARER });
            let object = json!({ "baseURL": url, "headers": headers });
            let answer = endpoint(&world, &tokens.access_token, &object).await;
            assert!(answer.expect(url).headers["Authorization"].len() > 20);
            let object = json!({ "type": "sse", "url": url, "headers": headers });
            server(&world, &tokens.access_token, &object)
                .await
                .expect(url);
        }
        for url in [
            "http://api.example.com/v1",
            "http://localhost.example.com/v1",
            "http://mcp.internal.example.com/v1",
            "http://svc.cluster.local",
            "${PLAIN}/v1",
            "user_provided",
        ] {
            let headers = json!({ "X-Other": "{{LIBRECHAT_OPENID_ID_TOKEN}}" });
            let object = json!({ "baseURL": url, "headers": headers });
            let answer = endpoint(&world, &tokens.access_token, &object).await;
            assert_eq!(refused(&answer.expect_err(url)), "baseURL");
            for object in [
                json!({ "type": "sse", "url": url, "headers": headers }),
                json!({ "type": "sse", "url": url, "oauth_headers": headers }),
                json!({ "type": "sse", "url": url, "env": { "T": BEARER } }),
                json!({ "type": "sse", "url": url, "oauth": { "client_secret": BEARER } }),
            ] {
                let answer = server(&world, &tokens.access_token, &object).await;
                assert_eq!(refused(&answer.expect_err(url)), "url");
            }
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_goes_to_no_address_that_is_missing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let token = json!({ "Authorization": BEARER });
        for object in [
            json!({ "baseURL": "", "headers": token }),
            json!({ "baseURL": null, "headers": token }),
            json!({ "headers": token }),
        ] {
            let answer = endpoint(&world, &tokens.access_token, &object).await;
            assert_eq!(refused(&answer.expect_err("a token")), "baseURL");
        }
        for object in [
            json!({ "type": "sse", "headers": token }),
            json!({ "type": "sse", "url": "", "headers": token }),
            json!({ "command": "", "oauth_headers": token }),
        ] {
            let answer = server(&world, &tokens.access_token, &object).await;
            assert_eq!(refused(&answer.expect_err("a token")), "url");
        }
        let stdio = json!({ "command": "node", "env": { "T": "{{LIBRECHAT_OPENID_TOKEN}}" } });
        let answer = server(&world, &tokens.access_token, &stdio).await;
        assert!(answer.expect("stdio").get("url").is_none());
        let headers = json!({ "X-User": "{{LIBRECHAT_OPENID_USER_ID}}" });
        let object = json!({ "type": "sse", "headers": headers });
        let answer = server(&world, &tokens.access_token, &object).await;
        let expected = json!({ "type": "sse", "headers": { "X-User": "ann" } });
        assert_eq!(answer.expect("no token"), expected);
        let answer = endpoint(&world, &tokens.access_token, &json!({ "headers": headers })).await;
        assert_eq!(answer.expect("no token").headers["X-User"], "ann");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_token_goes_anywhere() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let headers = json!({ "X-User": "{{LIBRECHAT_OPENID_USER_ID}}" });
        for url in ["http://api.example.com/v1", "user_provided"] {
            let object = json!({ "baseURL": url, "apiKey": "k", "headers": headers });
            let answer = endpoint(&world, &tokens.access_token, &object)
                .await
                .expect(url);
            assert_eq!(
                (answer.base_url.as_str(), answer.headers["X-User"].as_str()),
                (url, "ann")
            );
        }
        let omitted = json!({ "type": "sse", "url": "http://mcp.example.com/mcp",
            "headers": { "Authorization": format!("{BEARER} {{{{LIBRECHAT_BODY_MESSAGEID}}}}") } });
        let mut request = server_request(&tokens.access_token, &omitted);
        request.on_unresolved = OnUnresolved::Omit.into();
        let answer = world.federation().resolve_mcp_server(request).await;
        assert!(answer.is_ok(), "the token was left out: {answer:?}");
        world.end().await;
    })
    .await;
}

const REFUSED_IN_OAUTH: [(&str, &str); 5] = [
    (
        "https://{{TENANT}}.login.example/token",
        "PLACEHOLDER_NOT_ALLOWED",
    ),
    (
        "https://login.example:{{TENANT}}/token",
        "PLACEHOLDER_NOT_ALLOWED",
    ),
    ("{{TENANT}}", "PLACEHOLDER_NOT_ALLOWED"),
    (
        "https://login.example/{{LIBRECHAT_OPENID_TOKEN}}",
        "PLACEHOLDER_NOT_ALLOWED",
    ),
    ("https://login.example/{{TENANT}}\n", "VALUE_UNSAFE"),
];

/// Resolves a server with these members of `oauth` and the custom variable `TENANT`.
async fn oauth(world: &World<'_>, access_token: &str, oauth: Value) -> Result<Value, Status> {
    let object = json!({ "type": "sse", "url": "https://mcp.example.com", "oauth": oauth });
    let mut request = server_request(access_token, &object);
    request.custom_vars = map(&[("TENANT", "evil.example/a")]);
    let answer = world.federation().resolve_mcp_server(request).await?;
    Ok(json_of(answer.into_inner().server.expect("a server")))
}

#[tokio::test]
async fn the_urls_of_oauth_keep_their_host_and_hold_no_token() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let resolve = async |members| oauth(&world, &tokens.access_token, members).await;
        for field in [
            "token_url",
            "authorization_url",
            "redirect_uri",
            "revocation_endpoint",
            "tokenUrl",
        ] {
            for (template, expected) in REFUSED_IN_OAUTH {
                let status = resolve(json!({ field: template })).await;
                let failed = &failures(&status.expect_err(template))[0];
                assert_eq!(
                    (failed.0.as_str(), &failed.1),
                    (expected, &format!("oauth.{field}"))
                );
            }
            let fine = resolve(json!({ field: "https://login.example/{{TENANT}}/token" })).await;
            assert_eq!(
                fine.expect("resolved")["oauth"][field],
                "https://login.example/evil.example%2Fa/token"
            );
        }
        // A member of another name is a URL if its text is one.
        let other = json!({ "authorization_server": "https://{{TENANT}}.example" });
        let status = resolve(other).await.expect_err("another host");
        assert_eq!(failures(&status)[0].1, "oauth.authorization_server");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_in_oauth_goes_to_its_urls_but_not_to_the_address_of_the_way_back() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let with_secret = async |field: &str, url: &str| {
            let members = json!({ field: url, "client_secret": BEARER });
            oauth(&world, &tokens.access_token, members).await
        };
        let status = with_secret("token_url", "http://login.example/token").await;
        assert_eq!(refused(&status.expect_err("plain")), "oauth.token_url");
        for (field, url) in [
            ("token_url", "https://login.example/token"),
            ("token_url", "${MESH}/token"),
            ("redirect_uri", "http://chat.example/back"),
        ] {
            with_secret(field, url).await.expect(url);
        }
        world.end().await;
    })
    .await;
}
