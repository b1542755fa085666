//! Endpoints and MCP servers that are refused: tokens in the wrong place, and fields of the wrong
//! shape.

use countersign::grpc::proto::*;
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::support::calls::{by_token, fields};
use crate::support::federated::failures;
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};
use crate::targets::{VARIABLES, endpoint_request, server};

#[tokio::test]
async fn tokens_are_refused_in_the_arguments_and_the_url_of_an_inline_server() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        for (object, entry) in [
            (json!({ "command": "x", "args": ["--token", "{{LIBRECHAT_OPENID_TOKEN}}"] }), "args[1]"),
            (json!({ "command": "x", "args": ["{{LIBRECHAT_OPENID_ID_TOKEN@openid}}"] }), "args[0]"),
            (json!({ "type": "sse", "url": "https://h.example/?t={{LIBRECHAT_OPENID_TOKEN}}" }), "url"),
            (json!({ "type": "sse", "proxy": "https://{{LIBRECHAT_USER_ID}}/" }), "proxy"),
        ] {
            let status = server(&world, &tokens.access_token, &object).await.expect_err(entry);
            assert_eq!(reason(&status), (Code::FailedPrecondition, "PLACEHOLDER_NOT_ALLOWED".to_owned()));
            assert_eq!(failures(&status)[0].1, entry);
        }
        let fine = json!({ "type": "sse", "url": "${HOST}/{{LIBRECHAT_OPENID_USER_EMAIL}}", "args": ["{{LIBRECHAT_OPENID_USER_ID}}", 3] });
        let expected = json!({ "type": "sse", "url": "https://mcp.example.com/ann%40example.org", "args": ["ann", 3.0] });
        assert_eq!(server(&world, &tokens.access_token, &fine).await.expect("resolved"), expected);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn for_a_malformed_target_every_wrong_field_is_named() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let object =
            json!({ "url": 1, "args": "a", "env": { "A-B": "x" }, "headers": { "Host": "x" } });
        let status = server(&world, &tokens.access_token, &object)
            .await
            .expect_err("misshapen");
        assert_eq!(
            fields(&status),
            [
                "server.args",
                "server.env.A-B",
                "server.headers.Host",
                "server.url"
            ]
        );
        let request = endpoint_request(
            &tokens.access_token,
            &json!({ "baseURL": ["x"], "headers": "x" }),
        );
        let status = world
            .federation()
            .resolve_endpoint(request)
            .await
            .expect_err("misshapen");
        assert_eq!(fields(&status), ["endpoint.baseURL", "endpoint.headers"]);
        let nothing = ResolveEndpointRequest {
            subject: by_token(&tokens.access_token),
            ..Default::default()
        };
        assert_eq!(
            fields(
                &world
                    .federation()
                    .resolve_endpoint(nothing)
                    .await
                    .expect_err("nothing")
            ),
            ["endpoint"]
        );
        let empty = server(&world, &tokens.access_token, &Value::Object(Map::new()))
            .await
            .expect("nothing to do");
        assert_eq!(empty, json!({}));
        world.end().await;
    })
    .await;
}
