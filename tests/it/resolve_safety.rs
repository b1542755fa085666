//! What a user controls stays text and never reaches another user.

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tonic::Status;

use crate::support::federated::{failures, map, statuses, wish};
use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

const CANARY: &str = "canary-of-the-environment";
pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("COUNTERSIGN_TEMPLATE_ENV", "CANARY,NESTED"),
    ("CANARY", CANARY),
    ("NESTED", "${CANARY}{{LIBRECHAT_OPENID_TOKEN}}"),
];

/// Signs a user in who has these claims and this access token at the provider.
pub(crate) async fn arrive_as(
    world: &World<'_>,
    provider: &Hostile,
    access_token: &str,
    changes: &Value,
) -> TokenPair {
    let arrival = world.arrive_at(provider, |nonce| {
        let mut claims = provider.claims("mallory", nonce, world.clock.now().secs());
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        tokens(access_token, "a-refresh-token", &signed(&claims)).to_string()
    });
    arrival.await.expect("signed in").1
}

#[tokio::test]
async fn what_a_user_controls_is_never_expanded() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let settings = [VARIABLES, &[("COUNTERSIGN_CLAIMS", "team")]].concat();
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        for text in [
            "{{LIBRECHAT_OPENID_TOKEN}}",
            "{{KEY}}{{LIBRECHAT_USER_EMAIL}}",
            "${CANARY}",
            "$CANARY %CANARY% $(id) `id`",
            "$& $` $' $1 $$ \\1 \\0 %s {0}",
        ] {
            let changes =
                json!({ "name": text, "preferred_username": text.to_lowercase(), "team": text });
            let session = arrive_as(&world, &provider, "mallorys-access-token", &changes).await;
            let templates = [
                ("name", "{{LIBRECHAT_USER_NAME}}"),
                ("username", "{{LIBRECHAT_USER_USERNAME}}"),
                ("openid", "{{LIBRECHAT_OPENID_USER_NAME}}"),
                ("claim", "{{LIBRECHAT_OPENID_CLAIM_team}}"),
                ("body", "{{LIBRECHAT_BODY_CONVERSATIONID}}"),
                ("own", "{{KEY}}"),
                (
                    "all",
                    "{{KEY}}{{LIBRECHAT_USER_NAME}}{{LIBRECHAT_BODY_CONVERSATIONID}}",
                ),
            ];
            for sink in [Sink::Text, Sink::Header, Sink::Env] {
                let mut request = wish(&session.access_token, sink, &templates);
                request.body = Some(RequestBody {
                    conversation_id: Some(text.to_owned()),
                    ..RequestBody::default()
                });
                request.custom_vars = map(&[("KEY", text)]);
                let resolved = world.resolve(request).await.expect("resolved");
                assert_eq!(resolved["all"], text.repeat(3));
                assert_eq!(resolved["username"], text.to_lowercase());
                assert!(
                    ["name", "openid", "claim", "body", "own"]
                        .iter()
                        .all(|name| resolved[*name] == text),
                    "{resolved:?}"
                );
            }
        }
        world.secret(CANARY);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn environment_variables_and_tokens_are_inserted_byte_for_byte() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let access_token = "a$&b$1c$$d\\1e%sf{0}g{{KEY}}h${CANARY}i";
        let session = arrive_as(&world, &provider, access_token, &json!({})).await;
        let mut request = wish(
            &session.access_token,
            Sink::Header,
            &[
                ("A", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
                ("B", "${NESTED}"),
            ],
        );
        request.custom_vars = map(&[("KEY", "x")]);
        let resolved = world.resolve(request).await.expect("resolved");
        assert_eq!(
            (resolved["A"].as_str(), resolved["B"].as_str()),
            (&*format!("Bearer {access_token}"), VARIABLES[2].1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn other_forms_of_braces_are_text_and_unknown_names_are_reported() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let session = arrive_as(&world, &provider, "an-access-token", &json!({})).await;
        for (template, expected) in [
            (
                "{{ }} {{}} {{ }{ }} {{A A}} $X {X}",
                "{{ }} {{}} {{ }{ }} {{A A}} $X {X}",
            ),
            ("{{{X}}} {{{{X}}}} {{X}}}}", "{v} {{v}} v}}"),
            (
                "{{x}} {{ X }} {\u{200b}{X}} ｛｛X｝｝",
                "{{x}} {{ X }} {\u{200b}{X}} ｛｛X｝｝",
            ),
            ("{{LIBRECHATOPENID}}", "{{LIBRECHATOPENID}}"),
        ] {
            let mut request = wish(&session.access_token, Sink::Text, &[("a", template)]);
            request.custom_vars = map(&[("X", "v")]);
            let answer = world
                .federation()
                .resolve_placeholders(request)
                .await
                .expect("resolved")
                .into_inner();
            assert_eq!(answer.entries["a"], expected);
            let unknown = statuses(&answer.outcomes)
                .into_iter()
                .filter(|(_, status)| *status == OutcomeStatus::UnknownName);
            assert!(
                unknown
                    .map(|((_, placeholder), _)| placeholder)
                    .all(|placeholder| expected.contains(placeholder))
            );
        }
        let nested = wish(
            &session.access_token,
            Sink::Text,
            &[
                ("a", "{{LIBRECHAT_OPENID_{{X}}}}"),
                ("b", "Bearer {{LIBRECHAT_OPENID_TOKEN}"),
            ],
        );
        let status: Status = world.resolve(nested).await.expect_err("misspelt");
        let failing: Vec<_> = failures(&status)
            .into_iter()
            .map(|(reason, entry, _)| (reason, entry))
            .collect();
        assert_eq!(
            failing,
            ["a", "b"].map(|entry| ("PLACEHOLDER_UNKNOWN".to_owned(), entry.to_owned()))
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_template_that_a_user_wrote_resolves_only_custom_variables() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, VARIABLES).await;
        let session = arrive_as(&world, &provider, "mallorys-access-token", &json!({})).await;
        let mut request = wish(
            &session.access_token,
            Sink::Text,
            &[("a", "{{KEY}} ${CANARY} {{LIBRECHAT_USER_EMAIL}}")],
        );
        (request.user_authored, request.custom_vars) = (true, map(&[("KEY", "own")]));
        assert_eq!(
            world.resolve(request.clone()).await.expect("resolved")["a"],
            "own ${CANARY} {{LIBRECHAT_USER_EMAIL}}"
        );
        for on in [
            OnUnresolved::Fail,
            OnUnresolved::Omit,
            OnUnresolved::Empty,
            OnUnresolved::Keep,
        ] {
            request.entries = map(&[("a", "Bearer {{LIBRECHAT_OPENID_TOKEN}}")]);
            request.on_unresolved = on.into();
            match world.resolve(request.clone()).await {
                Err(status) => assert_eq!(
                    (on, reason(&status).1.as_str()),
                    (OnUnresolved::Fail, "PLACEHOLDER_NOT_ALLOWED")
                ),
                Ok(resolved) => assert!(
                    on != OnUnresolved::Fail && resolved.is_empty(),
                    "{on:?} {resolved:?}"
                ),
            }
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn twenty_users_at_once_get_their_own_tokens_every_time() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let logins: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
        let users = join_all(logins.iter().map(async |login| {
            let (user, session) = world.arrive(login).await;
            let bearer = world.bearer(&session.access_token).await.expect("resolved");
            (login, user.id, session.access_token, bearer)
        }))
        .await;
        let distinct: std::collections::BTreeSet<_> = users.iter().map(|(.., bearer)| bearer).collect();
        assert_eq!(distinct.len(), users.len());
        let round = users.iter().cycle().take(users.len() * 10).map(async |(login, id, session, bearer)| {
            let templates = [
                ("X-All", "{{LIBRECHAT_OPENID_USER_ID}} {{LIBRECHAT_USER_ID}} {{LIBRECHAT_OPENID_USER_EMAIL}}"),
                ("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
            ];
            let resolved = world.resolve(wish(session, Sink::Header, &templates)).await.expect("resolved");
            assert_eq!(resolved["X-All"], format!("{login} {id} {login}@example.org"));
            assert_eq!(resolved["Authorization"], format!("Bearer {bearer}"));
        });
        join_all(round).await;
        world.end().await;
    })
    .await;
}
