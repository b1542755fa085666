//! Which templates of an object are resolved, and which objects are refused.

use std::borrow::Cow;

use serde_json::json;

use super::*;
use crate::template::batch::Batch;
use crate::template::outcome::{RenderError, ResolveOptions};
use crate::template::values::{Value, Values};
use crate::template::vocabulary::{OnUnresolved, OpenIdField, Placeholder, Status};

/// Every access token is `at`, every `${X}` is `env` and everything else is `v`; `${NO}` is not
/// allowed.
struct Plain;

impl Values for Plain {
    fn value(&self, placeholder: &Placeholder) -> Value<'_> {
        Value::Text(Cow::Borrowed(match placeholder {
            Placeholder::Env(name) if name == "HOST" => "https://env.example",
            Placeholder::Env(name) if name == "NO" => {
                return Value::Unresolved(Status::NotAllowed);
            }
            Placeholder::Env(_) => "env",
            Placeholder::OpenId {
                field: OpenIdField::AccessToken,
                ..
            } => "at",
            Placeholder::Custom(_) => return Value::Unresolved(Status::UnknownName),
            _ => "v",
        }))
    }
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(object) => object,
        other => panic!("{other}"),
    }
}

fn fill(
    parts: Result<(TemplateObject, Vec<Entry>), Vec<ShapeError>>,
    on: OnUnresolved,
) -> Result<Json, RenderError> {
    let (target, entries) = parts.expect("a well-shaped target");
    let options = ResolveOptions {
        on_unresolved: on,
        user_authored: false,
    };
    let rendered = Batch::new(entries)
        .expect("within the limits")
        .render(&Plain, options)?;
    Ok(Json::Object(target.fill(rendered.values)))
}

fn server(json: Json) -> Result<Json, RenderError> {
    fill(
        TemplateObject::mcp_server(object(json), false),
        OnUnresolved::Fail,
    )
}

#[test]
fn only_the_templates_of_a_server_are_resolved() {
    let resolved = server(json!({
        "type": "sse", "url": "${HOST}/{{LIBRECHAT_USER_ID}}/sse", "timeout": 5, "proxy": "${HOST}",
        "command": "{{LIBRECHAT_USER_ID}}", "args": ["a", "{{LIBRECHAT_USER_ID}}", 3], "title": "${X}",
        "env": {"T": "{{LIBRECHAT_OPENID_ACCESS_TOKEN}}", "PORT": 3000},
        "headers": {"Authorization": "Bearer {{LIBRECHAT_OPENID_TOKEN}}"},
        "oauth_headers": {"X-A": "${X}"},
        "oauth": {"client_id": "${X}", "scopes": ["${X}"], "forward": true},
    }));
    let expected = json!({
        "type": "sse", "url": "https://env.example/v/sse", "timeout": 5, "proxy": "https://env.example",
        "command": "{{LIBRECHAT_USER_ID}}", "args": ["a", "v", 3], "title": "${X}",
        "env": {"T": "at", "PORT": 3000}, "headers": {"Authorization": "Bearer at"},
        "oauth_headers": {"X-A": "env"},
        "oauth": {"client_id": "env", "scopes": ["${X}"], "forward": true},
    });
    assert_eq!(resolved, Ok(expected));
}

#[test]
fn an_endpoint_resolves_its_headers_fully_and_the_rest_from_the_environment() {
    let endpoint = |json| fill(TemplateObject::endpoint(object(json)), OnUnresolved::Fail);
    let resolved = endpoint(
        json!({"name": "${X}", "baseURL": "${HOST}/v1", "apiKey": "${X}",
        "headers": {"X-User": "{{LIBRECHAT_USER_ID}}"}}),
    );
    let expected = json!({"name": "${X}", "baseURL": "https://env.example/v1", "apiKey": "env",
        "headers": {"X-User": "v"}});
    assert_eq!(resolved, Ok(expected));
    assert!(endpoint(json!({"apiKey": "{{LIBRECHAT_USER_ID}}"})).is_err());
    let own = json!({"baseURL": "user_provided", "apiKey": "user_provided"});
    assert_eq!(endpoint(own.clone()), Ok(own));
}

#[test]
fn an_operators_key_becomes_the_header_that_librechat_sends() {
    for (api_key, name, value) in [
        (
            json!({"authorization_type": "bearer"}),
            "Authorization",
            "Bearer env",
        ),
        (
            json!({"authorization_type": "basic"}),
            "Authorization",
            "Basic env",
        ),
        (json!({"authorization_type": "custom"}), "X-Api-Key", "env"),
        (
            json!({"authorization_type": "custom", "custom_header": "X-K"}),
            "X-K",
            "env",
        ),
    ] {
        let mut api_key = api_key;
        api_key["source"] = json!("admin");
        let mut expected = json!({"apiKey": api_key, "headers": {}});
        expected["headers"][name] = json!(value);
        api_key["key"] = json!("${X}");
        let mut headers = json!({});
        headers[name.to_lowercase()] = json!("old");
        assert_eq!(
            server(json!({"apiKey": api_key, "headers": headers})),
            Ok(expected.clone())
        );
        assert_eq!(server(json!({"apiKey": api_key})), Ok(expected));
    }
}

#[test]
fn a_users_key_is_left_to_its_variable() {
    let own = json!({"apiKey": {"source": "user", "authorization_type": "bearer"}});
    assert_eq!(server(own.clone()), Ok(own));
}

#[test]
fn what_is_left_out_leaves_no_gap() {
    let json = json!({"args": ["${NO}", "a", "${NO}", "b"], "env": {"A": "${NO}", "B": "b"},
        "headers": {"X": "${NO}"}});
    let resolved = fill(
        TemplateObject::mcp_server(object(json), false),
        OnUnresolved::Omit,
    );
    assert_eq!(
        resolved,
        Ok(json!({"args": ["a", "b"], "env": {"B": "b"}, "headers": {}}))
    );
    for field in ["url", "proxy"] {
        let json = object(json!({field: "${NO}"}));
        assert!(fill(TemplateObject::mcp_server(json, false), OnUnresolved::Omit).is_err());
    }
}

#[test]
fn a_token_is_allowed_in_a_url_only_if_the_target_says_so() {
    let json = || object(json!({"url": "https://h/?t={{LIBRECHAT_OPENID_TOKEN}}"}));
    assert!(
        fill(
            TemplateObject::mcp_server(json(), false),
            OnUnresolved::Fail
        )
        .is_err()
    );
    let resolved = fill(TemplateObject::mcp_server(json(), true), OnUnresolved::Fail);
    assert_eq!(resolved, Ok(json!({"url": "https://h/?t=at"})));
}

#[test]
fn a_token_is_refused_in_an_argument() {
    let failed = server(json!({"args": ["-t", "{{LIBRECHAT_OPENID_TOKEN}}"]}));
    let Err(RenderError::Unresolved(failed)) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!(
        (failed[0].entry.as_str(), failed[0].status),
        ("args[1]", Status::NotAllowed)
    );
}

#[test]
fn every_misshapen_field_is_named_at_once() {
    let json = json!({"url": 1, "args": "a", "env": {"A-B": "x", "C": []}, "apiKey": "k",
        "headers": {"Host": "x", "X": 1}, "oauth_headers": [], "oauth": true});
    let violations = TemplateObject::mcp_server(object(json), false).expect_err("misshapen");
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    let expected = [
        "apiKey",
        "url",
        "args",
        "env.A-B",
        "env.C",
        "headers.Host",
        "headers.X",
        "oauth_headers",
        "oauth",
    ];
    assert_eq!(fields, expected);
}
