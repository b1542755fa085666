//! Placeholders: the whole vocabulary, and what answers and the log say besides the values.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;

use crate::support::federated::{map, wish};
use crate::support::provider::Provider;
use crate::support::{World, logs, on_each_engine, reason};

pub(crate) const VARIABLES: &[(&str, &str)] = &[
    ("COUNTERSIGN_TEMPLATE_ENV", "API_KEY,REGION,UNSET"),
    ("API_KEY", "sk-operator"),
    ("REGION", "eu-1"),
    ("NOT_LISTED", "hidden"),
    (
        "COUNTERSIGN_CLAIMS",
        "department,groups,absent,level,address",
    ),
];

pub(crate) async fn claimant() -> Provider {
    let claims = json!({ "department": "R&D", "groups": ["a", "b"], "level": 7, "address": { "country": "HR" }, "salary": "1" });
    Provider::start(json!({ "users": { "ann": claims } })).await
}

/// Templates and the values that they resolve to, except for the user's id, the tokens and their
/// expiry.
const VOCABULARY: [(&str, &str); 23] = [
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
    ("{{LIBRECHAT_OPENID_USER_ID}}", "ann"),
    ("{{LIBRECHAT_OPENID_USER_ID@openid}}", "ann"),
    ("{{LIBRECHAT_OPENID_USER_EMAIL}}", "ann@example.org"),
    ("{{LIBRECHAT_OPENID_USER_NAME}}", "User ann"),
    ("{{LIBRECHAT_OPENID_CLAIM_department}}", "R&D"),
    ("{{LIBRECHAT_OPENID_CLAIM_groups}}", "a,b"),
    ("{{LIBRECHAT_OPENID_CLAIM_level@openid}}", "7"),
    ("{{MCP_API_KEY}}", "own-key"),
    ("{{Mixed Case-1}}", "v"),
    ("${API_KEY}", "sk-operator"),
    ("${API_KEY}-${REGION}", "sk-operator-eu-1"),
    ("  $${REGION} ", "  $eu-1 "),
];

#[tokio::test]
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
        let mut expected: BTreeMap<&str, &str> = VOCABULARY.into();
        expected.extend([
            ("{{LIBRECHAT_USER_ID}}", user.id.as_str()),
            ("{{LIBRECHAT_OPENID_TOKEN}}", &access),
            ("{{LIBRECHAT_OPENID_ACCESS_TOKEN}}", &access),
            ("{{LIBRECHAT_OPENID_TOKEN@openid}}", &access),
            ("{{LIBRECHAT_OPENID_ID_TOKEN}}", &id_token),
            ("{{LIBRECHAT_OPENID_EXPIRES_AT}}", &ends),
        ]);
        let templates: Vec<(&str, &str)> = expected
            .keys()
            .map(|template| (*template, *template))
            .collect();
        let mut request = wish(&tokens.access_token, Sink::Text, &templates);
        request.body = Some(RequestBody {
            conversation_id: Some("c-1".to_owned()),
            parent_message_id: Some("p-1".to_owned()),
            message_id: None,
        });
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
async fn neither_outcomes_nor_errors_contain_a_value() {
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
async fn handing_out_a_provider_token_is_logged_without_the_token() {
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
        assert_eq!(traces(), 2, "at most one per second");
        world.end().await;
    })
    .await;
}
