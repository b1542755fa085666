//! Sign-in at a real provider: begun, brought back and completed, or not.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::browser::{Callback, sign_in};
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{ADDRESS, complete_request, fields};
use crate::support::federated::parameter;
use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::{CLIENT_ID, Provider, REDIRECT_URI};
use crate::support::{Engine, World, client, on_each_engine, reason};

const NOTHING_MADE: &str = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM identities) + (SELECT COUNT(*) FROM sessions)";

/// A login at the provider that is begun and has come back.
async fn arrived(world: &World<'_>, login: &str) -> (BeginFederatedLoginResponse, Callback) {
    let begun = world.begin_federated_login().await;
    let callback = sign_in(&begun.authorization_url, login).await;
    world.secret(&callback.code);
    (begun, callback)
}

async fn complete(
    world: &World<'_>,
    request: CompleteFederatedLoginRequest,
) -> Result<CompleteFederatedLoginResponse, Status> {
    world
        .auth()
        .complete_federated_login(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn refusal(world: &World<'_>, request: CompleteFederatedLoginRequest) -> String {
    let status = complete(world, request).await.expect_err("refused");
    assert!(
        matches!(
            status.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::AlreadyExists
        ),
        "{status:?}"
    );
    reason(&status).1
}

fn begin(provider: &str) -> BeginFederatedLoginRequest {
    BeginFederatedLoginRequest {
        provider: provider.to_owned(),
        return_to: "/c/new".to_owned(),
        client: client(),
    }
}

fn signed_in(answer: CompleteFederatedLoginResponse) -> SignedIn {
    let complete_federated_login_response::Result::SignedIn(signed_in) =
        answer.result.expect("a result");
    signed_in
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_login_goes_out_with_s256_state_and_nonce_and_comes_back_to_where_it_began() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let sent = |name| parameter(&begun.authorization_url, name);
        assert!(
            begun
                .authorization_url
                .starts_with(&format!("{}/auth?", provider.issuer))
        );
        assert_eq!(
            (sent("response_type"), sent("code_challenge_method")),
            ("code".to_owned(), "S256".to_owned())
        );
        assert_eq!(
            (sent("client_id").as_str(), sent("redirect_uri").as_str()),
            (CLIENT_ID, REDIRECT_URI)
        );
        assert_eq!(
            (sent("state"), sent("code_challenge").len()),
            (begun.state.clone(), 43)
        );
        let secrets = BTreeSet::from([
            sent("state"),
            sent("nonce"),
            sent("code_challenge"),
            begun.binding_token.clone(),
        ]);
        assert!(secrets.len() == 4 && secrets.iter().all(|secret| secret.len() >= 43));
        assert_eq!(
            begun.expire_time.expect("an end").seconds,
            world.clock.now().secs() + 600
        );

        let answer = complete(&world, complete_request(&begun, &callback))
            .await
            .expect("signed in");
        assert_eq!(
            (answer.return_to.as_str(), answer.new_user),
            ("/c/new", true)
        );
        let SignedIn { user, tokens } = signed_in(answer);
        let (user, tokens) = (user.expect("a user"), tokens.expect("tokens"));
        world.keep_secret(&tokens);
        assert_eq!(
            (user.email.as_str(), user.email_verified, user.name.as_str()),
            ("ann@example.org", true, "User ann")
        );
        assert_eq!(
            (user.username.as_str(), user.provider.as_str()),
            ("ann", "openid")
        );
        let claims = world
            .verify(&tokens.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!(
            (claims.user_id, claims.provider.as_str()),
            (user.id, "openid")
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_first_account_is_no_administrator_if_a_provider_brought_it_and_no_later_one_is() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, _) = world.arrive("ann").await;
        assert_eq!(user.role, "USER");
        assert_eq!(world.register("local@example.com").await.role, "USER");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn of_twenty_completions_with_one_state_one_opens_a_session_with_one_token_call() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let answers =
            join_all((0..20).map(|_| complete(&world, complete_request(&begun, &callback)))).await;
        let (opened, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((opened.len(), refused.len()), (1, 19));
        for status in refused {
            assert_eq!(reason(&status.expect_err("refused")).1, "STATE_INVALID");
        }
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "STATE_INVALID"
        );
        assert_eq!(
            (
                engine.number("SELECT COUNT(*) FROM sessions").await,
                provider.stats().await.exchanges()
            ),
            (1, 1)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn another_browsers_binding_token_is_refused_and_uses_the_state_up() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let others = world.begin_federated_login().await.binding_token;
        for binding_token in [String::new(), "x".repeat(10_000), others] {
            let (begun, callback) = arrived(&world, "ann").await;
            let request = complete_request(&begun, &callback);
            let stolen = CompleteFederatedLoginRequest {
                binding_token,
                ..request.clone()
            };
            assert_eq!(refusal(&world, stolen).await, "BINDING_MISMATCH");
            assert_eq!(refusal(&world, request).await, "STATE_INVALID");
        }
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_state_that_is_altered_or_too_old_or_of_another_provider_is_refused() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let request = complete_request(&begun, &callback);
        let altered = request.state.chars().rev().collect();
        for state in [
            String::new(),
            altered,
            "x".repeat(10_000),
            begun.binding_token.clone(),
        ] {
            assert_eq!(
                refusal(
                    &world,
                    CompleteFederatedLoginRequest {
                        state,
                        ..request.clone()
                    }
                )
                .await,
                "STATE_INVALID"
            );
        }
        let elsewhere = CompleteFederatedLoginRequest {
            provider: "google".to_owned(),
            ..request.clone()
        };
        assert_eq!(refusal(&world, elsewhere).await, "STATE_INVALID");
        assert_eq!(
            refusal(&world, request).await,
            "STATE_INVALID",
            "used up by the provider that it was not for"
        );

        let (begun, callback) = arrived(&world, "ann").await;
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "STATE_INVALID"
        );
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );
        for unknown in ["", "OpenID", "google"] {
            let status = world
                .auth()
                .begin_federated_login(begin(unknown))
                .await
                .expect_err("unknown");
            assert_eq!(
                reason(&status),
                (Code::NotFound, "PROVIDER_NOT_FOUND".to_owned())
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_login_is_completed_by_the_caller_that_began_it() {
    let provider = Provider::start(json!({})).await;
    let callers = Listed::new(&[("one", &["auth.sign_in"]), ("two", &["auth.sign_in"])]);
    on_each_engine(async |engine| {
        let world = World::trusting(
            engine,
            &provider.issuer,
            &[("COUNTERSIGN_CALLERS", &callers.path())],
        )
        .await;
        let [one, two] = [&callers.tokens[0], &callers.tokens[1]];
        let begun = async || {
            let begun = world
                .auth()
                .begin_federated_login(sent_with(one, begin("openid")))
                .await
                .expect("begun")
                .into_inner();
            let callback = sign_in(&begun.authorization_url, "ann").await;
            complete_request(&begun, &callback)
        };
        let request = begun().await;
        let status = world
            .auth()
            .complete_federated_login(sent_with(two, request.clone()))
            .await
            .expect_err("another caller's");
        assert_eq!(reason(&status).1, "STATE_INVALID");
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world
            .auth()
            .complete_federated_login(sent_with(one, begun().await))
            .await
            .expect("its own");
        for token in &callers.tokens {
            world.secret(token);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_callback_without_a_code_or_of_another_issuer_makes_nothing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        let good = complete_request(&begun, &callback);
        for (code, error) in [("", ""), ("a-code", "access_denied")] {
            let request = CompleteFederatedLoginRequest {
                code: code.to_owned(),
                error: error.to_owned(),
                ..good.clone()
            };
            assert_eq!(
                fields(&complete(&world, request).await.expect_err("invalid")),
                ["code"]
            );
        }
        let denied = CompleteFederatedLoginRequest {
            code: String::new(),
            error: "access_denied".to_owned(),
            error_description: "she said no".to_owned(),
            ..good.clone()
        };
        let status = complete(&world, denied).await.expect_err("refused");
        assert_eq!(
            reason(&status),
            (Code::Unauthenticated, "PROVIDER_REFUSED".to_owned())
        );
        assert_eq!(
            status.get_details_error_info().expect("info").metadata["problem"],
            "access_denied"
        );
        assert_eq!(refusal(&world, good).await, "STATE_INVALID");

        let slashed = format!("{}/", provider.issuer);
        for iss in [
            "",
            "https://honest.example",
            &slashed,
            &provider.issuer.replacen("://", "%3A%2F%2F", 1),
        ] {
            let begun = world.begin_federated_login().await;
            let callback = Callback {
                code: "a-code".to_owned(),
                state: begun.state.clone(),
                iss: iss.to_owned(),
            };
            assert_eq!(
                refusal(&world, complete_request(&begun, &callback)).await,
                "ID_TOKEN_INVALID",
                "{iss}"
            );
        }
        assert_eq!(provider.stats().await.exchanges(), 0);

        let begun = world.begin_federated_login().await;
        let callback = Callback {
            code: "a-code".to_owned(),
            state: begun.state.clone(),
            iss: provider.issuer.clone(),
        };
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "PROVIDER_REFUSED",
            "a code that it never gave"
        );
        assert_eq!(engine.number(NOTHING_MADE).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn social_login_switched_off_shuts_every_door() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let open = World::trusting(engine, &provider.issuer, &[]).await;
        let providers = open
            .auth()
            .list_providers(ListProvidersRequest {})
            .await
            .expect("a list")
            .into_inner()
            .providers;
        assert_eq!(
            providers
                .iter()
                .map(|one| (one.id.as_str(), one.kind.as_str()))
                .collect::<Vec<_>>(),
            [("openid", "openid")]
        );
        let (begun, callback) = arrived(&open, "ann").await;

        let shut =
            World::trusting(engine, &provider.issuer, &[("ALLOW_SOCIAL_LOGIN", "false")]).await;
        let status = shut
            .auth()
            .begin_federated_login(begin("openid"))
            .await
            .expect_err("closed");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "LOGIN_CLOSED".to_owned())
        );
        assert_eq!(
            refusal(&shut, complete_request(&begun, &callback)).await,
            "LOGIN_CLOSED"
        );
        let providers = shut
            .auth()
            .list_providers(ListProvidersRequest {})
            .await
            .expect("a list")
            .into_inner()
            .providers;
        assert_eq!((providers.len(), engine.number(NOTHING_MADE).await), (0, 0));
        shut.end().await;
        open.end().await;
    })
    .await;
}

#[tokio::test]
async fn closed_registration_keeps_new_accounts_out_and_lets_known_ones_in() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let open =
            World::trusting(engine, &provider.issuer, &[("ALLOW_REGISTRATION", "false")]).await;
        let (ann, _) = open.arrive("ann").await;
        let closed = World::trusting(
            engine,
            &provider.issuer,
            &[("OPENID_ALLOW_REGISTRATION", "false")],
        )
        .await;
        assert_eq!(closed.arrive("ann").await.0.id, ann.id);
        let (begun, callback) = arrived(&closed, "bob").await;
        let status = complete(&closed, complete_request(&begun, &callback))
            .await
            .expect_err("closed");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "REGISTRATION_CLOSED".to_owned())
        );
        assert_eq!(users_and_sessions(engine).await, (1, 2));
        let social = World::trusting(
            engine,
            &provider.issuer,
            &[("ALLOW_SOCIAL_REGISTRATION", "false")],
        )
        .await;
        let (begun, callback) = arrived(&social, "bob").await;
        assert_eq!(
            refusal(&social, complete_request(&begun, &callback)).await,
            "REGISTRATION_CLOSED"
        );
        social.end().await;
        closed.end().await;
        open.end().await;
    })
    .await;
}

async fn users_and_sessions(engine: &Engine) -> (i64, i64) {
    (
        engine.number("SELECT COUNT(*) FROM users").await,
        engine.number("SELECT COUNT(*) FROM sessions").await,
    )
}

#[tokio::test]
async fn twenty_first_logins_at_once_make_one_user_with_twenty_sessions() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let arrivals = join_all((0..20).map(|_| arrived(&world, "ann"))).await;
        let answers = join_all(
            arrivals
                .iter()
                .map(|(begun, callback)| complete(&world, complete_request(begun, callback))),
        )
        .await;
        let answers: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.expect("signed in"))
            .collect();
        assert_eq!(answers.iter().filter(|answer| answer.new_user).count(), 1);
        let ids: BTreeSet<_> = answers
            .into_iter()
            .map(|answer| signed_in(answer).user.expect("a user").id)
            .collect();
        assert_eq!((ids.len(), users_and_sessions(engine).await), (1, (1, 20)));
        let (again, new_user) = world.federated_login("ann").await.expect("signed in");
        assert_eq!(
            (ids.first(), new_user),
            (again.user.map(|user| user.id).as_ref(), false)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_address_that_another_account_holds_is_in_use_and_links_nothing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let local = world.register("ANN@example.org").await;
        let (begun, callback) = arrived(&world, "ann").await;
        let status = complete(&world, complete_request(&begun, &callback))
            .await
            .expect_err("in use");
        assert_eq!(
            reason(&status),
            (Code::AlreadyExists, "EMAIL_IN_USE".to_owned())
        );
        assert_eq!(
            (
                users_and_sessions(engine).await,
                engine.number("SELECT COUNT(*) FROM identities").await
            ),
            ((1, 0), 0)
        );
        assert_eq!(
            world
                .login("ann@example.org")
                .await
                .user
                .expect("a user")
                .id,
            local.id
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_the_provider_says_of_a_user_is_taken_over_at_the_next_login() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        world.register("held@example.com").await;
        let login = async |changes: Value| {
            let arrival = world.arrive_at(&provider, |nonce| {
                let mut claims = provider.claims("ann-1", nonce, world.clock.now().secs());
                for (name, value) in changes.as_object().expect("an object") {
                    claims[name] = value.clone();
                }
                tokens("an-access-token", "a-refresh-token", &signed(&claims)).to_string()
            });
            arrival.await.expect("signed in")
        };
        let (first, session, new_user) = login(json!({ "email_verified": "false" })).await;
        assert!(new_user && !first.email_verified);
        assert_eq!(world.verify(&session.access_token).await.claims.expect("active").email, "ann-1@example.net");

        let (second, _, new_user) =
            login(json!({ "name": "Ann B.", "email": "Ann.B@Example.net", "picture": "https://example.net/ann.png" })).await;
        assert_eq!((&second.id, new_user, second.name.as_str()), (&first.id, false, "Ann B."));
        assert_eq!((second.email.as_str(), second.email_verified), ("ann.b@example.net", true));
        assert_eq!(second.avatar_url, "https://example.net/ann.png");
        assert_eq!(world.verify(&session.access_token).await.claims.expect("active").email, "ann.b@example.net");

        let (third, ..) = login(json!({ "email": "held@example.com" })).await;
        assert_eq!((&third.id, third.email.as_str()), (&first.id, "ann.b@example.net"), "another account's address stays out");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn whom_or_whence_is_banned_does_not_sign_in() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let ban = async |target| {
            let request = BanTargetRequest {
                target: Some(target),
                reason: "test".to_owned(),
                ..Default::default()
            };
            world
                .moderation()
                .ban_target(request)
                .await
                .expect("banned")
                .into_inner()
                .ban
                .expect("a ban")
                .id
        };
        let (begun, callback) = arrived(&world, "ann").await;
        let of_address = ban(ban_target_request::Target::IpAddress(ADDRESS.to_owned())).await;
        let status = world
            .auth()
            .begin_federated_login(begin("openid"))
            .await
            .expect_err("banned");
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "BANNED".to_owned())
        );
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "BANNED"
        );
        assert_eq!(
            (
                engine.number(NOTHING_MADE).await,
                provider.stats().await.exchanges()
            ),
            (0, 0)
        );

        world
            .moderation()
            .lift_ban(LiftBanRequest { ban_id: of_address })
            .await
            .expect("lifted");
        let (ann, _) = world.arrive("ann").await;
        ban(ban_target_request::Target::UserId(ann.id)).await;
        let (begun, callback) = arrived(&world, "ann").await;
        assert_eq!(
            refusal(&world, complete_request(&begun, &callback)).await,
            "BANNED"
        );
        assert_eq!(users_and_sessions(engine).await, (1, 1));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_is_down_takes_only_its_own_logins_with_it() {
    on_each_engine(async |engine| {
        let provider = Provider::start(json!({})).await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
        drop(provider);
        let status = complete(&world, complete_request(&begun, &callback))
            .await
            .expect_err("down");
        assert_eq!(
            reason(&status),
            (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned())
        );
        world.end().await;

        let world = World::trusting(engine, "http://127.0.0.1:1", &[]).await;
        let status = world
            .auth()
            .begin_federated_login(begin("openid"))
            .await
            .expect_err("down");
        assert_eq!(
            reason(&status),
            (Code::Unavailable, "PROVIDER_UNAVAILABLE".to_owned())
        );
        assert!(status.get_details_retry_info().is_some());
        let (_, tokens) = world.signed_in("local@example.com").await;
        assert!(world.verify(&tokens.access_token).await.active);
        world
            .refresh(&tokens.refresh_token)
            .await
            .expect("refreshed");
        world.end().await;
    })
    .await;
}
