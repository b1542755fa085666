//! Placeholders: the whole vocabulary, who may ask for it, and what happens where it does not resolve.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_session, by_token, by_user, complete_request, fields};
use crate::support::federated::{failures, map, statuses, wish};
use crate::support::provider::Provider;
use crate::support::{World, client, logs, on_each_engine, reason};

const VARIABLES: &[(&str, &str)] = &[
    ("COUNTERSIGN_TEMPLATE_ENV", "API_KEY,REGION,UNSET"),
    ("API_KEY", "sk-operator"),
    ("REGION", "eu-1"),
    ("NOT_LISTED", "hidden"),
    (
        "COUNTERSIGN_CLAIMS",
        "department,groups,absent,level,address",
    ),
];

async fn claimant() -> Provider {
    let claims = json!({ "department": "R&D", "groups": ["a", "b"], "level": 7, "address": { "country": "HR" }, "salary": "1" });
    Provider::start(json!({ "users": { "ann": claims } })).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn every_name_of_the_vocabulary_resolves_for_a_federated_user() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (user, tokens) = world.arrive("ann").await;
        let access = world.bearer(&tokens.access_token).await.expect("resolved");
        let id_token = world
            .token(&tokens.access_token, "ID_TOKEN")
            .await
            .expect("resolved");
        let ends = (world.clock.now().secs() + 3600).to_string();
        let expected: BTreeMap<&str, &str> = [
            ("{{LIBRECHAT_USER_ID}}", user.id.as_str()),
            ("{{LIBRECHAT_USER_NAME}}", "User ann"),
            ("{{LIBRECHAT_USER_USERNAME}}", "ann"),
            ("{{LIBRECHAT_USER_EMAIL}}", "ann@example.org"),
            ("{{LIBRECHAT_USER_PROVIDER}}", "openid"),
            ("{{LIBRECHAT_USER_ROLE}}", "USER"),
            ("{{LIBRECHAT_USER_OPENIDID}}", "ann"),
            ("{{LIBRECHAT_USER_EMAILVERIFIED}}", "true"),
            ("{{LIBRECHAT_USER_TWOFACTORENABLED}}", "false"),
            ("{{LIBRECHAT_BODY_CONVERSATIONID}}", "c-1"),
            ("{{LIBRECHAT_BODY_PARENTMESSAGEID}}", "p-1"),
            ("{{LIBRECHAT_BODY_MESSAGEID}}", ""),
            ("{{LIBRECHAT_OPENID_TOKEN}}", &access),
            ("{{LIBRECHAT_OPENID_ACCESS_TOKEN}}", &access),
            ("{{LIBRECHAT_OPENID_TOKEN@openid}}", &access),
            ("{{LIBRECHAT_OPENID_ID_TOKEN}}", &id_token),
            ("{{LIBRECHAT_OPENID_USER_ID}}", "ann"),
            ("{{LIBRECHAT_OPENID_USER_ID@openid}}", "ann"),
            ("{{LIBRECHAT_OPENID_USER_EMAIL}}", "ann@example.org"),
            ("{{LIBRECHAT_OPENID_USER_NAME}}", "User ann"),
            ("{{LIBRECHAT_OPENID_EXPIRES_AT}}", &ends),
            ("{{LIBRECHAT_OPENID_CLAIM_department}}", "R&D"),
            ("{{LIBRECHAT_OPENID_CLAIM_groups}}", "a,b"),
            ("{{LIBRECHAT_OPENID_CLAIM_level@openid}}", "7"),
            ("{{MCP_API_KEY}}", "own-key"),
            ("{{Mixed Case-1}}", "v"),
            ("${API_KEY}", "sk-operator"),
            ("${API_KEY}-${REGION}", "sk-operator-eu-1"),
            ("  $${REGION} ", "  $eu-1 "),
        ]
        .into();
        let templates: Vec<(&str, &str)> = expected
            .keys()
            .map(|template| (*template, *template))
            .collect();
        let mut request = wish(&tokens.access_token, Sink::Text, &templates);
        request.body = map(&[
            ("conversationId", "c-1"),
            ("parentMessageId", "p-1"),
            ("other", "x"),
        ]);
        request.custom_vars = map(&[("MCP_API_KEY", "own-key"), ("Mixed Case-1", "v")]);
        let resolved = world.resolve(request).await.expect("resolved");
        assert_eq!(
            resolved,
            expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        );
        let parts: Vec<&str> = id_token.split('.').collect();
        assert_eq!(parts.len(), 3);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_field_that_the_account_does_not_have_is_empty() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, local) = world.signed_in("local@example.com").await;
        let (_, federated) = world.arrive("ann").await;
        let absent = [
            "GOOGLEID",
            "FACEBOOKID",
            "SAMLID",
            "LDAPID",
            "GITHUBID",
            "DISCORDID",
            "APPLEID",
            "TERMSACCEPTED",
            "TERMSACCEPTEDAT",
        ];
        let templates: Vec<(String, String)> = absent
            .map(|name| (name.to_owned(), format!("[{{{{LIBRECHAT_USER_{name}}}}}]")))
            .into();
        let templates: Vec<(&str, &str)> = templates
            .iter()
            .map(|(name, template)| (name.as_str(), template.as_str()))
            .collect();
        for access_token in [&local.access_token, &federated.access_token] {
            let resolved = world
                .resolve(wish(access_token, Sink::Text, &templates))
                .await
                .expect("resolved");
            assert!(
                resolved.len() == absent.len() && resolved.values().all(|value| value == "[]"),
                "{resolved:?}"
            );
        }
        let own = [
            ("id", "{{LIBRECHAT_USER_OPENIDID}}"),
            (
                "role",
                "{{LIBRECHAT_USER_ROLE}} {{LIBRECHAT_USER_PROVIDER}}",
            ),
        ];
        let resolved = world
            .resolve(wish(&local.access_token, Sink::Text, &own))
            .await
            .expect("resolved");
        assert_eq!(
            (resolved["id"].as_str(), resolved["role"].as_str()),
            ("", "ADMIN local")
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_does_not_resolve_fails_the_call_with_every_entry_and_its_reason() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let (_, tokens) = world.arrive("ann").await;
        for (template, expected) in [
            ("{{LIBRECHAT_BODY_MESSAGEID}}", "TOKEN_MISSING"),
            ("{{LIBRECHAT_OPENID_CLAIM_absent}}", "TOKEN_MISSING"),
            ("{{LIBRECHAT_OPENID_CLAIM_address}}", "TOKEN_MISSING"),
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
async fn a_local_user_is_told_to_be_not_federated_entry_by_entry() {
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
async fn what_does_not_resolve_is_left_out_or_empty_or_stays_where_the_caller_says_so() {
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
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn only_callers_with_the_permission_bring_templates_and_name_users() {
    let provider = claimant().await;
    let all = [
        "auth.sign_in",
        "federation.resolve",
        "federation.inline",
        "federation.template_env",
        "federation.act_as",
    ];
    let callers = Listed::new(&[
        ("all", &all),
        ("none", &["token.verify"]),
        ("resolve", &all[1..2]),
        ("inline", &all[1..3]),
    ]);
    on_each_engine(async |engine| {
        let path = callers.path();
        let settings: Vec<_> = VARIABLES
            .iter()
            .copied()
            .chain([("COUNTERSIGN_CALLERS", path.as_str())])
            .collect();
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        let (user, tokens) = arrive_through(&world, &callers.tokens[0], "ann").await;
        let text = wish(&tokens.access_token, Sink::Text, &[("a", "plain")]);
        let env = wish(&tokens.access_token, Sink::Text, &[("a", "${REGION}")]);
        let subject = |subject| ResolvePlaceholdersRequest {
            subject,
            ..text.clone()
        };
        let (session, named) = (
            subject(by_session(&tokens.session_id)),
            subject(by_user(&user.id)),
        );
        for (caller, request, missing) in [
            (1, &text, "federation.resolve"),
            (2, &text, "federation.inline"),
            (3, &env, "federation.template_env"),
            (3, &session, "federation.act_as"),
            (3, &named, "federation.act_as"),
        ] {
            let request = sent_with(&callers.tokens[caller], request.clone());
            let status = world
                .federation()
                .resolve_placeholders(request)
                .await
                .expect_err(missing);
            assert_eq!(
                reason(&status),
                (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
            );
            let info = tonic_types::StatusExt::get_details_error_info(&status).expect("info");
            assert_eq!(info.metadata["permission"], missing);
        }
        for (caller, request) in [(3, &text), (0, &env), (0, &session), (0, &named)] {
            let request = sent_with(&callers.tokens[caller], request.clone());
            world
                .federation()
                .resolve_placeholders(request)
                .await
                .expect("allowed");
        }
        world.end().await;
    })
    .await;
}

async fn arrive_through(world: &World<'_>, caller: &str, login: &str) -> (User, TokenPair) {
    let begin = BeginFederatedLoginRequest {
        provider: "openid".to_owned(),
        client: client(),
        ..Default::default()
    };
    let started = world
        .auth()
        .begin_federated_login(sent_with(caller, begin))
        .await
        .expect("begun")
        .into_inner();
    let callback = crate::support::browser::sign_in(&started.authorization_url, login).await;
    let complete = sent_with(caller, complete_request(&started, &callback));
    let answer = world
        .auth()
        .complete_federated_login(complete)
        .await
        .expect("signed in")
        .into_inner();
    let Some(complete_federated_login_response::Result::SignedIn(signed_in)) = answer.result else {
        panic!("no result")
    };
    let tokens = signed_in.tokens.expect("tokens");
    world.keep_secret(&tokens);
    (signed_in.user.expect("a user"), tokens)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_users_id_means_the_live_session_whose_tokens_were_renewed_last() {
    let provider = Provider::start(json!({ "access_token_ttl": 100 })).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let later = || world.clock.advance(std::time::Duration::from_secs(40));
        let (user, old) = world.arrive("ann").await;
        later();
        let (_, new) = world.arrive("ann").await;
        let mint = MintSessionRequest {
            user_id: user.id.clone(),
            client: client(),
            ..Default::default()
        };
        later();
        let minted = world
            .tokens()
            .mint_session(mint)
            .await
            .expect("minted")
            .into_inner()
            .tokens
            .expect("tokens");
        world.keep_secret(&minted);
        let by_id = async || {
            let mut request = wish("", Sink::Text, &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")]);
            request.subject = by_user(&user.id);
            world
                .resolve(request)
                .await
                .expect("resolved")
                .remove("t")
                .expect("a token")
        };
        let of_new = world.bearer(&new.access_token).await.expect("resolved");
        assert_eq!(
            by_id().await,
            of_new,
            "not the minted session, which has no tokens"
        );
        let of_old = world.bearer(&old.access_token).await.expect("renewed");
        assert_ne!(of_old, of_new);
        assert_eq!(by_id().await, of_old, "renewed just now");
        let end = RevokeSessionRequest {
            session_id: old.session_id.clone(),
            subject: None,
        };
        world.tokens().revoke_session(end).await.expect("revoked");
        assert_eq!(by_id().await, of_new, "the other one is over");

        let mut request = wish("", Sink::Text, &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")]);
        request.subject = by_session(&new.session_id);
        assert_eq!(
            world.resolve(request.clone()).await.expect("resolved")["t"],
            of_new
        );
        request.subject = by_session(&old.session_id);
        assert_eq!(
            reason(&world.resolve(request).await.expect_err("ended")).1,
            "SESSION_NOT_FOUND"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_request_that_cannot_be_meant_is_refused_field_by_field() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, tokens) = world.arrive("ann").await;
        let good = wish(
            &tokens.access_token,
            Sink::Text,
            &[("a", "{{LIBRECHAT_USER_ID}}")],
        );
        let many = (0..1001).map(|n| (n.to_string(), String::new())).collect();
        let large = map(&[("a", &"x".repeat(1024 * 1024))]);
        let busy = map(&[("a", &"{{X}}".repeat(10_001))]);
        for (request, expected) in [
            (
                ResolvePlaceholdersRequest {
                    sink: 0,
                    ..good.clone()
                },
                "sink",
            ),
            (
                ResolvePlaceholdersRequest {
                    subject: None,
                    ..good.clone()
                },
                "subject",
            ),
            (
                ResolvePlaceholdersRequest {
                    on_unresolved: 9,
                    ..good.clone()
                },
                "on_unresolved",
            ),
            (
                ResolvePlaceholdersRequest {
                    entries: many,
                    ..good.clone()
                },
                "entries",
            ),
            (
                ResolvePlaceholdersRequest {
                    entries: large,
                    ..good.clone()
                },
                "entries",
            ),
            (
                ResolvePlaceholdersRequest {
                    entries: busy,
                    ..good.clone()
                },
                "entries",
            ),
            (
                ResolvePlaceholdersRequest {
                    custom_vars: map(&[("LIBRECHAT_USER_EMAIL", "x")]),
                    ..good.clone()
                },
                "custom_vars[\"LIBRECHAT_USER_EMAIL\"]",
            ),
        ] {
            let status = world.resolve(request).await.expect_err(expected);
            assert_eq!(
                (reason(&status).1.as_str(), fields(&status)),
                ("FIELDS_INVALID", vec![expected.to_owned()])
            );
        }
        let unknown = ResolvePlaceholdersRequest {
            provider: "google".to_owned(),
            ..good.clone()
        };
        assert_eq!(
            reason(&world.resolve(unknown).await.expect_err("unknown")).1,
            "PROVIDER_NOT_FOUND"
        );
        let stranger = ResolvePlaceholdersRequest {
            subject: by_token("x.y.z"),
            ..good
        };
        assert_eq!(
            reason(&world.resolve(stranger).await.expect_err("no token")).1,
            "ACCESS_TOKEN_INVALID"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn neither_an_answers_outcomes_nor_an_error_hold_a_value() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, tokens) = world.arrive("ann").await;
        let bearer = world.bearer(&tokens.access_token).await.expect("resolved");
        let mut request = wish(
            &tokens.access_token,
            Sink::Header,
            &[("A", "Bearer {{LIBRECHAT_OPENID_TOKEN}} {{KEY}}")],
        );
        request.custom_vars = map(&[("KEY", "own-secret-value")]);
        let answer = world
            .federation()
            .resolve_placeholders(request.clone())
            .await
            .expect("resolved")
            .into_inner();
        let told = format!("{:?}", answer.outcomes);
        assert!(
            answer.outcomes.len() == 2
                && !told.contains(&bearer)
                && !told.contains("own-secret-value"),
            "{told}"
        );
        request.custom_vars = map(&[("KEY", "own-secret-value\r\n")]);
        let status = world.resolve(request).await.expect_err("unsafe");
        assert_eq!(reason(&status).1, "VALUE_UNSAFE");
        let told = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
        assert!(!told.contains(&bearer) && !told.contains("own-secret-value"));
        world.secret("own-secret-value");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_release_of_a_provider_token_leaves_a_trace_without_the_token() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, session) = world.arrive("ann").await;
        let traces = || {
            let log = String::from_utf8_lossy(&logs::kept()).into_owned();
            let of_this = format!(
                "user={} session={} provider=\"openid\" token=AccessToken version=1 entries=1",
                user.id, session.session_id
            );
            log.lines()
                .filter(|line| {
                    line.contains("a provider token is released") && line.contains(&of_this)
                })
                .count()
        };
        let name = wish(
            &session.access_token,
            Sink::Text,
            &[("t", "{{LIBRECHAT_OPENID_USER_NAME}}")],
        );
        world.resolve(name).await.expect("resolved");
        assert_eq!(traces(), 0);
        for seconds in [0, 0, 2] {
            world.clock.advance(Duration::from_secs(seconds));
            world.bearer(&session.access_token).await.expect("resolved");
        }
        assert_eq!(traces(), 2, "one in a second at most");
        world.end().await;
    })
    .await;
}
