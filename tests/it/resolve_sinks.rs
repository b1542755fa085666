//! Headers, environment variables and URLs each take a value in their own form.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::resolve_safety::{VARIABLES, arrive_as};
use crate::support::calls::fields;
use crate::support::federated::{map, wish};
use crate::support::hostile::Hostile;
use crate::support::{World, on_each_engine, reason};

async fn failed(world: &World<'_>, request: ResolvePlaceholdersRequest) -> String {
    let status = world.resolve(request).await.expect_err("unresolved");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    reason(&status).1
}

#[tokio::test]
async fn a_header_value_is_visible_latin1_or_base64() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let session = arrive_as(
            &world,
            &provider,
            "an-access-token",
            &json!({ "name": "山田" }),
        )
        .await;
        let header = |template: &str, value: &str| {
            let mut request = wish(&session.access_token, Sink::Header, &[("X-A", template)]);
            request.custom_vars = map(&[("V", value)]);
            request
        };
        for (template, value, expected) in [
            ("{{LIBRECHAT_USER_NAME}}", "", "b64:5bGx55Sw"),
            ("Hi {{LIBRECHAT_OPENID_USER_NAME}}!", "", "Hi b64:5bGx55Sw!"),
            ("{{V}}", "José", "José"),
            ("{{V}}", "Marić", "b64:TWFyacSH"),
            ("{{V}}", "b64:QQ==", "b64:YjY0OlFRPT0="),
            (" {{V}} ", " a  b ", "a  b"),
        ] {
            let resolved = world
                .resolve(header(template, value))
                .await
                .expect("resolved");
            assert_eq!(resolved["X-A"], expected, "{template} {value}");
        }
        for value in [
            "a\r\nX-Evil: 1",
            "a\n",
            "\0",
            "a\tb",
            "\u{7f}",
            "\u{85}",
            &"x".repeat(16 * 1024 + 1),
        ] {
            assert_eq!(
                failed(&world, header("{{V}}", value)).await,
                "VALUE_UNSAFE",
                "{value:?}"
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn invalid_header_names_and_headers_of_the_connection_are_refused() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let session = arrive_as(&world, &provider, "an-access-token", &json!({})).await;
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Proxy-Authorization",
            ":authority",
            "X\r\nY",
            "",
        ] {
            let status = world
                .resolve(wish(&session.access_token, Sink::Header, &[(name, "x")]))
                .await
                .expect_err(name);
            assert_eq!(
                (reason(&status).1.as_str(), fields(&status)),
                ("FIELDS_INVALID", vec![format!("entries[{name:?}]")])
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_environment_variable_needs_a_valid_name_and_values_without_line_breaks() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let session = arrive_as(&world, &provider, "an-access-token", &json!({})).await;
        let mut request = wish(
            &session.access_token,
            Sink::Env,
            &[("PEM", "-----\n{{V}}\n-----")],
        );
        request.custom_vars = map(&[("V", "QQ==")]);
        assert_eq!(
            world
                .resolve(request.clone())
                .await
                .expect("the operator's lines")["PEM"],
            "-----\nQQ==\n-----"
        );
        for value in ["a\nLD_PRELOAD=x", "a\rb", "a\0b"] {
            request.custom_vars = map(&[("V", value)]);
            assert_eq!(failed(&world, request.clone()).await, "VALUE_UNSAFE");
        }
        for name in ["1A", "A-B", "A=B", ""] {
            let status = world
                .resolve(wish(&session.access_token, Sink::Env, &[(name, "x")]))
                .await
                .expect_err(name);
            assert_eq!(fields(&status), [format!("entries[{name:?}]")]);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn in_a_url_values_are_encoded_components_and_tokens_are_refused() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let session = arrive_as(&world, &provider, "an-access-token", &json!({})).await;
        let url = |template: &str, value: &str| {
            let mut request = wish(&session.access_token, Sink::Url, &[("url", template)]);
            request.custom_vars = map(&[("V", value)]);
            request
        };
        for (template, value, expected) in [
            (
                "https://h.example/{{V}}/x?q={{V}}",
                "a/b?c&d=é",
                "https://h.example/a%2Fb%3Fc%26d%3D%C3%A9/x?q=a%2Fb%3Fc%26d%3D%C3%A9",
            ),
            (
                "https://h.example/${CANARY}?u={{LIBRECHAT_OPENID_USER_EMAIL}}",
                "",
                "https://h.example/canary-of-the-environment?u=mallory%40example.net",
            ),
        ] {
            assert_eq!(
                world.resolve(url(template, value)).await.expect("resolved")["url"],
                expected
            );
        }
        for (template, value, expected) in [
            ("https://{{V}}/", "evil.example", "PLACEHOLDER_NOT_ALLOWED"),
            ("https://h.example:{{V}}/", "1", "PLACEHOLDER_NOT_ALLOWED"),
            ("{{V}}://h.example/", "http", "PLACEHOLDER_NOT_ALLOWED"),
            ("https://u:{{V}}@h.example/", "x", "PLACEHOLDER_NOT_ALLOWED"),
            ("https://h.example/a/{{V}}", "..", "VALUE_UNSAFE"),
            (
                "https://h.example/?t={{LIBRECHAT_OPENID_TOKEN}}",
                "",
                "PLACEHOLDER_NOT_ALLOWED",
            ),
            (
                "https://h.example/{{LIBRECHAT_OPENID_ID_TOKEN}}",
                "",
                "PLACEHOLDER_NOT_ALLOWED",
            ),
        ] {
            assert_eq!(
                failed(&world, url(template, value)).await,
                expected,
                "{template}"
            );
        }
        world.end().await;
    })
    .await;
}
