//! Endpoints and MCP servers that are refused: tokens in the wrong place, and fields of the wrong
//! shape.

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::calls::{by_token, fields};
use crate::support::federated::{failures, map, wish};
use crate::support::provider::Provider;
use crate::support::shape::{json_of, struct_of};
use crate::support::{World, on_each_engine, reason};
use crate::targets::{VARIABLES, endpoint_request, server, server_request};

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
        world.end().await;
    })
    .await;
}

/// The fields that are wrong with an object, and why.
fn told(status: &Status) -> Vec<(String, String)> {
    assert_eq!(reason(status).1, "FIELDS_INVALID");
    let details = status.get_details_bad_request().expect("BadRequest");
    let violations = details.field_violations.into_iter();
    violations.map(|one| (one.field, one.description)).collect()
}

#[tokio::test]
async fn an_object_with_no_known_field_or_a_misspelt_one_is_refused_and_the_right_name_told() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let nested = json!({ "fields": { "type": { "stringValue": "sse" } } });
        for (object, hint) in [
            (json!({}), "Struct"),
            (nested, "without `fields`"),
            (json!({ "title": "x", "url": null }), ""),
        ] {
            let status = server(&world, &tokens.access_token, &object).await;
            let told = told(&status.expect_err("not a server"));
            assert_eq!(told[0].0, "server");
            assert!(told[0].1.contains("url, command, args") && told[0].1.contains(hint));
        }
        for (object, field, meant) in [
            (
                json!({ "base_url": "https://h.example" }),
                "base_url",
                "baseURL",
            ),
            (
                json!({ "baseURL": "https://h.example", "Headers": {} }),
                "Headers",
                "headers",
            ),
            (
                json!({ "baseUrl": "https://h.example", "apiKey": "k" }),
                "baseUrl",
                "baseURL",
            ),
        ] {
            let request = endpoint_request(&tokens.access_token, &object);
            let status = world.federation().resolve_endpoint(request).await;
            let told = told(&status.expect_err(field));
            let expected = format!("is not a field: {meant} is meant");
            assert_eq!(told, [(format!("endpoint.{field}"), expected)]);
        }
        let object = json!({ "URL": "x", "oauthHeaders": {}, "custom_user_vars": {},
            "apiKey": { "source": "user", "customHeader": "x" } });
        let status = server(&world, &tokens.access_token, &object).await;
        assert_eq!(
            fields(&status.expect_err("misspelt")),
            [
                "server.URL",
                "server.apiKey.customHeader",
                "server.custom_user_vars",
                "server.oauthHeaders"
            ]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn headers_that_differ_only_by_case_are_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let headers = json!({ "X-A": "1", "x-a": "2", "X-B": "3" });
        for field in ["headers", "oauth_headers"] {
            let object = json!({ "type": "sse", field: headers });
            let status = server(&world, &tokens.access_token, &object).await;
            assert_eq!(
                fields(&status.expect_err(field)),
                [format!("server.{field}.x-a")]
            );
        }
        let entries = [("X-A", "1"), ("X-B", "3"), ("x-a", "2")];
        let mut request = wish(&tokens.access_token, Sink::Header, &entries);
        let status = world
            .resolve(request.clone())
            .await
            .expect_err("the same header");
        assert_eq!(fields(&status), ["entries[\"x-a\"]"]);
        request.sink = Sink::Text.into();
        assert_eq!(world.resolve(request).await.expect("plain names").len(), 3);
        let key = json!({ "source": "admin", "authorization_type": "bearer", "key": "k" });
        let replaced = json!({ "apiKey": key, "headers": { "authorization": "old" } });
        let answer = server(&world, &tokens.access_token, &replaced).await;
        assert_eq!(
            answer.expect("replaced")["headers"],
            json!({ "Authorization": "Bearer k" })
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_struct_that_is_no_json_is_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let value = |kind| prost_types::Value { kind };
        let number = |number| value(Some(prost_types::value::Kind::NumberValue(number)));
        let list = prost_types::ListValue {
            values: vec![number(1.0), number(f64::NEG_INFINITY)],
        };
        let list = value(Some(prost_types::value::Kind::ListValue(list)));
        let inner = prost_types::Struct {
            fields: [("deep".to_owned(), list)].into(),
        };
        let mut object = struct_of(&json!({ "type": "sse" }));
        object.fields.extend([
            ("timeout".to_owned(), number(f64::NAN)),
            ("title".to_owned(), value(None)),
            (
                "other".to_owned(),
                value(Some(prost_types::value::Kind::StructValue(inner))),
            ),
        ]);
        let mut request = server_request(&tokens.access_token, &json!({}));
        request.target = Some(resolve_mcp_server_request::Target::Server(object));
        let status = world.federation().resolve_mcp_server(request).await;
        assert_eq!(
            fields(&status.expect_err("no JSON")),
            ["server.other.deep[1]", "server.timeout", "server.title"]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_wants_an_exchanged_token_is_refused() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        let with_obo = |obo: Value| {
            json!({ "type": "sse", "url": "https://h.example", "obo": obo,
                "headers": { "Authorization": "Bearer {{LIBRECHAT_OPENID_TOKEN}}" } })
        };
        let object = with_obo(json!({ "scopes": "api://x/.default" }));
        let status = server(&world, &tokens.access_token, &object).await;
        assert_eq!(fields(&status.expect_err("no exchange")), ["server.obo"]);
        let object = with_obo(Value::Null);
        server(&world, &tokens.access_token, &object)
            .await
            .expect("no exchange is asked for");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_users_value_cannot_make_an_argument_an_option() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let resolve = async |argument: &str, value: &str, on: OnUnresolved| {
            let object = json!({ "command": "x", "args": ["run", argument] });
            let mut request = server_request(&tokens.access_token, &object);
            request.custom_vars = map(&[("V", value)]);
            request.on_unresolved = on.into();
            let answer = world.federation().resolve_mcp_server(request).await?;
            Ok::<_, Status>(json_of(answer.into_inner().server.expect("a server"))["args"].clone())
        };
        for (argument, value) in [("{{V}}", "--config=/x"), ("{{V}}-rf", ""), ("{{V}}", "a\0")] {
            let status = resolve(argument, value, OnUnresolved::Fail).await;
            let failed = &failures(&status.expect_err(argument))[0];
            assert_eq!((&*failed.0, &*failed.1), ("VALUE_UNSAFE", "args[1]"));
            let omitted = resolve(argument, value, OnUnresolved::Omit).await;
            assert_eq!(omitted.expect("left out"), json!(["run"]));
        }
        let empty = resolve("{{LIBRECHAT_BODY_MESSAGEID}}-rf", "", OnUnresolved::Empty).await;
        assert_eq!(empty.expect("left out"), json!(["run"]));
        for (argument, value, expected) in [
            ("--v={{V}}", "-x", "--v=-x"),
            ("{{V}}", "a-b", "a-b"),
            ("-{{V}}", "x", "-x"),
        ] {
            let resolved = resolve(argument, value, OnUnresolved::Fail).await;
            assert_eq!(resolved.expect("resolved"), json!(["run", expected]));
        }
        world.end().await;
    })
    .await;
}
