//! Sign-in at a provider, from its beginning to its completion.

use std::collections::BTreeSet;

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::browser::{Callback, sign_in};
use crate::support::calls::{authorization_url, complete_request};
use crate::support::federated::parameter;
use crate::support::provider::{CLIENT_ID, Provider, REDIRECT_URI};
use crate::support::{Engine, World, client, on_each_engine, reason};

pub(crate) const NOTHING_MADE: &str = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM identities) + (SELECT COUNT(*) FROM sessions)";

/// A login that has begun, and the callback that the provider sent the user to.
pub(crate) async fn arrived(
    world: &World<'_>,
    login: &str,
) -> (BeginFederatedLoginResponse, Callback) {
    let begun = world.begin_federated_login().await;
    let callback = sign_in(authorization_url(&begun), login).await;
    world.secret(&callback.code);
    (begun, callback)
}

pub(crate) async fn complete(
    world: &World<'_>,
    request: CompleteFederatedLoginRequest,
) -> Result<CompleteFederatedLoginResponse, Status> {
    world
        .auth()
        .complete_federated_login(request)
        .await
        .map(tonic::Response::into_inner)
}

pub(crate) async fn refusal(world: &World<'_>, request: CompleteFederatedLoginRequest) -> String {
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

pub(crate) fn begin(provider: &str) -> BeginFederatedLoginRequest {
    BeginFederatedLoginRequest {
        provider: provider.to_owned(),
        return_to: "/c/new".to_owned(),
        client: client(),
    }
}

pub(crate) fn signed_in(answer: CompleteFederatedLoginResponse) -> SignedIn {
    let complete_federated_login_response::Result::SignedIn(signed_in) =
        answer.result.expect("a result");
    signed_in
}

#[tokio::test]
async fn a_login_goes_out_with_s256_state_and_nonce() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let begun = world.begin_federated_login().await;
        let sent = |name| parameter(authorization_url(&begun), name);
        assert!(authorization_url(&begun).starts_with(&format!("{}/auth?", provider.issuer)));
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
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_login_comes_back_to_where_it_began_with_what_the_provider_says_of_the_user() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (begun, callback) = arrived(&world, "ann").await;
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
async fn of_twenty_completions_with_one_state_only_one_redeems_the_code_and_opens_a_session() {
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

pub(crate) async fn users_and_sessions(engine: &Engine) -> (i64, i64) {
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
async fn if_a_provider_is_down_only_its_own_logins_fail() {
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

#[tokio::test]
async fn a_logout_says_where_the_browser_ends_the_provider_s_session_and_comes_back() {
    let login_page = "https://chat.example.com/login";
    let provider = Provider::start(json!({ "post_logout_redirect_uris": [login_page] })).await;
    on_each_engine(async |engine| {
        let settings = [
            ("OPENID_USE_END_SESSION_ENDPOINT", "true"),
            ("DOMAIN_CLIENT", "https://chat.example.com"),
        ];
        let world = World::trusting(engine, &provider.issuer, &settings).await;
        let (_, session) = world.arrive("ann").await;
        let id_token = world.token(&session.access_token, "ID_TOKEN").await;
        let request = LogoutRequest {
            refresh_token: session.refresh_token,
        };
        let answer = world.auth().logout(request).await.expect("logged out");
        let url = answer.into_inner().end_session_url;
        assert!(url.starts_with(&provider.issuer), "{url}");
        assert_eq!(parameter(&url, "post_logout_redirect_uri"), login_page);
        assert_eq!(parameter(&url, "client_id"), CLIENT_ID);
        assert_eq!(parameter(&url, "id_token_hint"), id_token.expect("a token"));
        // The provider knows the page and the user, and shows its form.
        let browser = reqwest::Client::builder().no_proxy().build();
        let page = browser.expect("a client").get(url).send().await;
        assert_eq!(page.expect("an answer").status(), 200);
        world.end().await;
    })
    .await;
}
