//! Placeholders that do not resolve: the error, and what the caller can choose instead.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::resolve::{VARIABLES, claimant};
use crate::resolve_safety::arrive_as;
use crate::support::federated::{failures, map, statuses, wish};
use crate::support::hostile::Hostile;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn if_a_placeholder_does_not_resolve_the_call_fails_and_names_entry_and_reason() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        for (template, expected) in [
            ("{{LIBRECHAT_BODY_MESSAGEID}}", "VALUE_MISSING"),
            ("{{LIBRECHAT_OPENID_CLAIM_absent}}", "VALUE_MISSING"),
            ("{{LIBRECHAT_OPENID_CLAIM_address}}", "VALUE_MISSING"),
            (
                "{{LIBRECHAT_OPENID_CLAIM_salary}}",
                "PLACEHOLDER_NOT_ALLOWED",
            ),
            (
                "{{LIBRECHAT_OPENID_CLAIM_Department}}",
                "PLACEHOLDER_NOT_ALLOWED",
            ),
            ("${NOT_LISTED}", "PLACEHOLDER_NOT_ALLOWED"),
            ("${UNSET}", "PLACEHOLDER_NOT_ALLOWED"),
            ("${API_KEY:-x}", "PLACEHOLDER_NOT_ALLOWED"),
            ("${OPENID_CLIENT_SECRET}", "PLACEHOLDER_NOT_ALLOWED"),
            ("{{LIBRECHAT_OPENID_TOKEN@google}}", "NOT_FEDERATED"),
            ("{{LIBRECHAT_OIDC_TOKEN}}", "PLACEHOLDER_UNKNOWN"),
            ("{{LIBRECHAT_USER_PASSWORD}}", "PLACEHOLDER_UNKNOWN"),
            ("{{LIBRECHAT_USER_id}}", "PLACEHOLDER_UNKNOWN"),
            ("{{LIBRECHAT_OPENID_TOKEN }}", "PLACEHOLDER_UNKNOWN"),
            ("{{LIBRECHAT_OPENID_REFRESH_TOKEN}}", "PLACEHOLDER_UNKNOWN"),
        ] {
            let status = world
                .resolve(wish(
                    &tokens.access_token,
                    Sink::Text,
                    &[("a", "fine"), ("b", template)],
                ))
                .await
                .expect_err(template);
            assert_eq!(
                reason(&status),
                (Code::FailedPrecondition, expected.to_owned()),
                "{template}"
            );
            assert_eq!(
                failures(&status),
                [(expected.to_owned(), "b".to_owned(), template.to_owned())]
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn for_a_local_user_every_entry_with_a_federated_placeholder_is_reported() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.signed_in("local@example.com").await;
        let templates = [
            ("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
            ("X-Id-Token", "{{LIBRECHAT_OPENID_ID_TOKEN}}"),
            (
                "X-User",
                "{{LIBRECHAT_OPENID_USER_ID}} {{LIBRECHAT_OPENID_USER_EMAIL}}",
            ),
            ("X-Mail", "{{LIBRECHAT_USER_EMAIL}}"),
        ];
        let status = world
            .resolve(wish(&tokens.access_token, Sink::Header, &templates))
            .await
            .expect_err("not federated");
        assert_eq!(
            reason(&status),
            (Code::FailedPrecondition, "NOT_FEDERATED".to_owned())
        );
        let failing: Vec<_> = failures(&status)
            .into_iter()
            .map(|(reason, entry, _)| (reason, entry))
            .collect();
        let expected = ["Authorization", "X-Id-Token", "X-User", "X-User"]
            .map(|entry| ("NOT_FEDERATED".to_owned(), entry.to_owned()));
        assert_eq!(failing, expected);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_caller_chooses_whether_an_unresolved_placeholder_is_omitted_emptied_or_kept() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, tokens) = world.signed_in("local@example.com").await;
        let templates = [
            ("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
            ("X-Version", "v1-{{LIBRECHAT_OPENID_USER_ID}}"),
            ("X-Mail", "{{LIBRECHAT_USER_EMAIL}}"),
        ];
        let resolve = async |on: OnUnresolved, sink, templates: &[(&str, &str)]| {
            let mut request = wish(&tokens.access_token, sink, templates);
            request.on_unresolved = on.into();
            world
                .federation()
                .resolve_placeholders(request)
                .await
                .map(tonic::Response::into_inner)
        };
        for (on, expected) in [
            (OnUnresolved::Omit, &[("X-Mail", "local@example.com")][..]),
            (
                OnUnresolved::Empty,
                &[("X-Mail", "local@example.com"), ("X-Version", "v1-")],
            ),
            (
                OnUnresolved::Keep,
                &[
                    ("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
                    ("X-Mail", "local@example.com"),
                    ("X-Version", "v1-{{LIBRECHAT_OPENID_USER_ID}}"),
                ],
            ),
        ] {
            let answer = resolve(on, Sink::Header, &templates)
                .await
                .expect("answered");
            assert_eq!(answer.entries, map(expected), "{on:?}");
            let statuses = statuses(&answer.outcomes);
            assert_eq!(
                statuses[&("X-Mail", "{{LIBRECHAT_USER_EMAIL}}")],
                OutcomeStatus::Resolved
            );
            assert_eq!(
                statuses[&("X-Version", "{{LIBRECHAT_OPENID_USER_ID}}")],
                OutcomeStatus::NotFederated
            );
            assert_eq!(
                statuses[&("Authorization", "{{LIBRECHAT_OPENID_TOKEN}}")],
                OutcomeStatus::NotFederated
            );
        }
        let url = [("u", "https://example.com/{{LIBRECHAT_OPENID_USER_ID}}")];
        let status = resolve(OnUnresolved::Omit, Sink::Url, &url)
            .await
            .expect_err("a URL cannot be left out");
        assert_eq!(reason(&status).1, "NOT_FEDERATED");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_field_missing_from_the_body_is_empty_and_without_a_body_none_resolves() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let template = "[{{LIBRECHAT_BODY_CONVERSATIONID}}{{LIBRECHAT_BODY_MESSAGEID}}]";
        let resolve = async |body: Option<RequestBody>| {
            let entries = [("a", template)];
            let mut request = wish(&tokens.access_token, Sink::Text, &entries);
            request.body = body;
            world.resolve(request).await
        };
        let empty = RequestBody::default();
        assert_eq!(resolve(Some(empty)).await.expect("resolved")["a"], "[]");
        let one = RequestBody {
            message_id: Some("m-1".to_owned()),
            ..RequestBody::default()
        };
        assert_eq!(resolve(Some(one)).await.expect("resolved")["a"], "[m-1]");
        let status = resolve(None).await.expect_err("no body");
        assert_eq!(reason(&status).1, "VALUE_MISSING");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_identity_without_an_address_or_a_name_does_not_resolve_to_empty_text() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let nameless = json!({ "email": null, "name": null, "preferred_username": null });
        let session = arrive_as(&world, &provider, "an-access-token", &nameless).await;
        for field in ["EMAIL", "NAME"] {
            let template = format!("[{{{{LIBRECHAT_OPENID_USER_{field}}}}}]");
            let request = wish(&session.access_token, Sink::Text, &[("a", &template)]);
            let status = world.resolve(request).await.expect_err(field);
            assert_eq!(reason(&status).1, "VALUE_MISSING");
        }
        let account = wish(
            &session.access_token,
            Sink::Text,
            &[("a", "[{{LIBRECHAT_USER_NAME}}]")],
        );
        assert_eq!(
            world.resolve(account).await.expect("the account's")["a"],
            "[]"
        );
        world.end().await;
    })
    .await;
}
