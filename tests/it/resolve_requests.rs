//! Requests to resolve placeholders: who may send them, for whom, and in what form.

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::resolve::{VARIABLES, claimant};
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{
    authorization_url, by_session, by_token, by_user, complete_request, fields,
};
use crate::support::federated::{map, wish};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine, reason};

fn callers() -> Listed {
    let all = [
        "auth.sign_in",
        "federation.resolve",
        "federation.inline",
        "federation.template_env",
        "federation.act_as",
    ];
    Listed::new(&[
        ("all", &all),
        ("none", &["token.verify"]),
        ("resolve", &all[1..2]),
        ("inline", &all[1..3]),
    ])
}

#[tokio::test]
async fn templates_and_other_users_need_a_permission_of_their_own() {
    let provider = claimant().await;
    let callers = callers();
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

pub(crate) async fn arrive_through(
    world: &World<'_>,
    caller: &str,
    login: &str,
) -> (User, TokenPair) {
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
    let callback = crate::support::browser::sign_in(authorization_url(&started), login).await;
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

/// A request for the provider's access token of the subject.
fn token_of(subject: Option<Subject>) -> ResolvePlaceholdersRequest {
    ResolvePlaceholdersRequest {
        subject,
        ..wish("", Sink::Text, &[("t", "{{LIBRECHAT_OPENID_TOKEN}}")])
    }
}

#[tokio::test]
async fn for_a_user_id_the_live_session_with_the_newest_tokens_is_used() {
    let provider = Provider::start(json!({ "access_token_ttl": 100 })).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let later = || world.clock.advance(std::time::Duration::from_secs(40));
        let (user, old) = world.arrive("ann").await;
        later();
        let (_, new) = world.arrive("ann").await;
        later();
        world.mint(&user.id).await;
        let by_id = async || {
            world
                .resolve(token_of(by_user(&user.id)))
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
        world.revoke(&old.session_id).await;
        assert_eq!(by_id().await, of_new, "the other session has ended");

        let of_session = async |id: &str| world.resolve(token_of(by_session(id))).await;
        assert_eq!(
            of_session(&new.session_id).await.expect("resolved")["t"],
            of_new
        );
        assert_eq!(
            reason(&of_session(&old.session_id).await.expect_err("ended")).1,
            "SESSION_NOT_FOUND"
        );
        world.end().await;
    })
    .await;
}

/// A good request with one mistake in it each, and the field that is wrong.
fn with_a_mistake(
    good: &ResolvePlaceholdersRequest,
) -> Vec<(ResolvePlaceholdersRequest, &'static str)> {
    let changed = |change: fn(&mut ResolvePlaceholdersRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    vec![
        (changed(|request| request.sink = 0), "sink"),
        (changed(|request| request.subject = None), "subject"),
        (
            changed(|request| request.on_unresolved = 9),
            "on_unresolved",
        ),
        (
            changed(|request| {
                request.entries = (0..1001).map(|n| (n.to_string(), String::new())).collect();
            }),
            "entries",
        ),
        (
            changed(|request| request.entries = map(&[("a", &"x".repeat(1024 * 1024))])),
            "entries",
        ),
        (
            changed(|request| request.entries = map(&[("a", &"{{X}}".repeat(10_001))])),
            "entries",
        ),
        (
            changed(|request| request.custom_vars = map(&[("LIBRECHAT_USER_EMAIL", "x")])),
            "custom_vars[\"LIBRECHAT_USER_EMAIL\"]",
        ),
    ]
}

#[tokio::test]
async fn a_request_with_a_mistake_is_refused_and_the_field_is_named() {
    let provider = claimant().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, tokens) = world.arrive("ann").await;
        let good = wish(
            &tokens.access_token,
            Sink::Text,
            &[("a", "{{LIBRECHAT_USER_ID}}")],
        );
        for (request, expected) in with_a_mistake(&good) {
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
