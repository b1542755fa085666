//! Placeholders that no value stands for: which ones stay as text, and where none does.

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::calls::fields;
use crate::support::federated::{failures, map, statuses, wish};
use crate::support::shape::json_of;
use crate::support::{World, on_each_engine, reason};
use crate::targets::{endpoint_request, server_request};

async fn server(
    world: &World<'_>,
    access_token: &str,
    object: &Value,
    vars: &[(&str, &str)],
) -> Result<Value, Status> {
    let mut request = server_request(access_token, object);
    request.custom_vars = map(vars);
    let answer = world.federation().resolve_mcp_server(request).await?;
    Ok(json_of(answer.into_inner().server.expect("a server")))
}

/// A server with this declaration and this field.
fn declaring(declaration: &Value, field: &str, value: &Value) -> Value {
    let mut object = json!({ "type": "sse", field: value });
    for (name, value) in declaration.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

#[tokio::test]
async fn a_variable_that_the_server_declares_and_the_call_does_not_give_is_missing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let declared = json!({ "customUserVars": { "KEY": { "title": "Key" } } });
        let own_key = json!({ "apiKey": { "source": "user", "authorization_type": "bearer" } });
        for (object, entry) in [
            (
                declaring(&declared, "headers", &json!({ "X-A": "a {{KEY}}" })),
                "headers.X-A",
            ),
            (
                declaring(&declared, "env", &json!({ "A": "{{KEY}}" })),
                "env.A",
            ),
            (
                declaring(&declared, "args", &json!(["--key={{KEY}}"])),
                "args[0]",
            ),
            (
                declaring(&declared, "url", &json!("https://h.example/{{KEY}}")),
                "url",
            ),
            (
                declaring(&declared, "oauth", &json!({ "scope": "{{KEY}}" })),
                "oauth.scope",
            ),
            (
                declaring(&own_key, "env", &json!({ "A": "{{MCP_API_KEY}}" })),
                "env.A",
            ),
        ] {
            let status = server(&world, &tokens.access_token, &object, &[("OTHER", "x")]).await;
            let failed = &failures(&status.expect_err(entry))[0];
            assert_eq!(
                (failed.0.as_str(), failed.1.as_str()),
                ("VALUE_MISSING", entry)
            );
            let given = [("KEY", "own"), ("MCP_API_KEY", "own")];
            let resolved = server(&world, &tokens.access_token, &object, &given).await;
            let resolved = resolved.expect("given").to_string();
            assert!(
                resolved.contains("own") && !resolved.contains("{{"),
                "{resolved}"
            );
        }
        let misspelt = declaring(&declared, "env", &json!({ "A": "{{ key }}" }));
        let status = server(&world, &tokens.access_token, &misspelt, &[("KEY", "own")]).await;
        assert_eq!(
            failures(&status.expect_err("misspelt"))[0].0,
            "PLACEHOLDER_UNKNOWN"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_name_of_librechat_in_another_case_or_with_blanks_does_not_resolve() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for template in [
            "{{ LIBRECHAT_OPENID_TOKEN }}",
            "{{librechat_openid_token}}",
            "{{LibreChat_User_Id}}",
            "{{LIBRECHAT_ USER_ID}}",
            "{{ librechat_anything }}",
        ] {
            for sink in [Sink::Header, Sink::Env, Sink::Text, Sink::Url] {
                let text = match sink {
                    Sink::Url => format!("https://h.example/{template}"),
                    _ => template.to_owned(),
                };
                let mut request = wish(&tokens.access_token, sink, &[("A", &text)]);
                let status = world.resolve(request.clone()).await.expect_err(template);
                let expected = ("PLACEHOLDER_UNKNOWN", "A", template);
                let failed = &failures(&status)[0];
                assert_eq!((&*failed.0, &*failed.1, &*failed.2), expected);
                request.on_unresolved = OnUnresolved::Keep.into();
                let kept = world.resolve(request).await.expect("kept");
                assert_eq!(kept["A"], text);
            }
        }
        let mut reserved = wish(&tokens.access_token, Sink::Text, &[]);
        reserved.custom_vars = map(&[(" librechat_user_id", "x")]);
        let status = world.resolve(reserved).await.expect_err("reserved");
        assert_eq!(fields(&status), ["custom_vars[\" librechat_user_id\"]"]);
        world.end().await;
    })
    .await;
}

/// Entries in which a literal would be sent as a credential.
const CREDENTIALS: [(Sink, &str, &str); 11] = [
    (Sink::Header, "Authorization", "Bearer {{KEY}}"),
    (Sink::Header, "authorization", "{{KEY}}"),
    (Sink::Header, "Cookie", "session={{KEY}}"),
    (Sink::Header, "X-Api-Key", "{{KEY}}"),
    (Sink::Header, "api-key", "v1-{{KEY}}"),
    (Sink::Header, "X-Auth-Token", "{{ KEY }}"),
    (Sink::Header, "X-Upstream", "Bearer {{key}}"),
    (Sink::Header, "X-Upstream", "auth=Basic {{KEY}}"),
    (Sink::Env, "AUTH", "bearer v1.{{KEY}}"),
    (Sink::Text, "any", " Basic {{KEY}}"),
    (Sink::Text, "any", "DPoP {{KEY}}"),
];

#[tokio::test]
async fn a_literal_is_never_sent_as_a_credential_unless_the_call_asks_to_keep_it() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for (sink, name, template) in CREDENTIALS {
            for user_authored in [false, true] {
                let mut request = wish(&tokens.access_token, sink, &[(name, template)]);
                request.user_authored = user_authored;
                let status = world.resolve(request.clone()).await.expect_err(template);
                assert_eq!(failures(&status)[0].0, "PLACEHOLDER_UNKNOWN", "{template}");
                request.on_unresolved = OnUnresolved::Omit.into();
                let omitted = world.resolve(request.clone()).await.expect("left out");
                assert!(omitted.is_empty(), "{omitted:?}");
                request.on_unresolved = OnUnresolved::Empty.into();
                let emptied = world.resolve(request.clone()).await.expect("emptied");
                let gone = emptied.get(name).is_none_or(|value| !value.contains("{{"));
                assert!(gone, "{emptied:?}");
                request.on_unresolved = OnUnresolved::Keep.into();
                let kept = world.resolve(request).await.expect("kept");
                assert_eq!(kept[name].trim(), template.trim());
            }
        }
        let mut written_by_a_user = wish(
            &tokens.access_token,
            Sink::Header,
            &[("Authorization", "Basic {{LIBRECHAT_USER_EMAIL}}")],
        );
        written_by_a_user.user_authored = true;
        let status = world
            .resolve(written_by_a_user)
            .await
            .expect_err("a literal");
        assert_eq!(reason(&status).1, "PLACEHOLDER_NOT_ALLOWED");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn elsewhere_a_literal_stays_and_is_reported() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for (sink, name, template) in [
            (Sink::Header, "X-Note", "to {{NAME}}"),
            (Sink::Header, "X-Key", "{{NAME}}"),
            (Sink::Env, "GREETING", "{{NAME}}"),
            (Sink::Text, "any", "The bearer of {{NAME}}"),
            (Sink::Url, "any", "https://h.example/{{NAME}}"),
        ] {
            let request = wish(&tokens.access_token, sink, &[(name, template)]);
            let answer = world.federation().resolve_placeholders(request).await;
            let answer = answer.expect("text").into_inner();
            assert_eq!(answer.entries[name], template);
            let status = statuses(&answer.outcomes)[&(name, "{{NAME}}")];
            assert_eq!(status, OutcomeStatus::UnknownName);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn no_literal_stays_in_the_keys_of_an_object() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let endpoint = json!({ "baseURL": "https://h.example", "apiKey": "sk-{{KEY}}" });
        let request = endpoint_request(&tokens.access_token, &endpoint);
        let status = world.federation().resolve_endpoint(request).await;
        let expected = ("PLACEHOLDER_UNKNOWN".to_owned(), "apiKey".to_owned());
        let status = status.expect_err("a literal");
        assert_eq!(reason(&status).0, Code::FailedPrecondition);
        let failed = failures(&status)[0].clone();
        assert_eq!((failed.0, failed.1), expected);
        let key = |header: &str| {
            json!({ "source": "admin", "authorization_type": "custom", "custom_header": header,
                "key": "{{KEY}}" })
        };
        for (object, entry) in [
            (
                json!({ "type": "sse", "apiKey": key("X-K") }),
                "headers.X-K",
            ),
            (
                json!({ "type": "sse", "oauth": { "client_secret": "{{KEY}}" } }),
                "oauth.client_secret",
            ),
            (
                json!({ "type": "sse", "oauth_headers": { "Cookie": "a={{KEY}}" } }),
                "oauth_headers.Cookie",
            ),
            (
                json!({ "command": "npx", "args": ["--header", "Authorization: Bearer {{KEY}}"] }),
                "args[1]",
            ),
        ] {
            let status = server(&world, &tokens.access_token, &object, &[]).await;
            let failed = &failures(&status.expect_err(entry))[0];
            assert_eq!((&*failed.0, &*failed.1), ("PLACEHOLDER_UNKNOWN", entry));
        }
        world.end().await;
    })
    .await;
}
