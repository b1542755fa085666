//! A signed-in user authenticates again.

use std::time::Duration;

use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::join;
use serde_json::json;
use tonic::{Code, Status};

use crate::callers::{CALLERS, signed_in};
use crate::login::WRONG;
use crate::refresh::{generation, refused, unauthenticated};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{PASSWORD, by_session, by_token, by_user, client_at, fields};
use crate::support::provider::Provider;
use crate::support::{World, client, on_each_engine, reason};
use crate::verify::{ACTIVE, REVOKED};

const AGE: Duration = Duration::from_mins(10);

pub(crate) fn proof(access_token: &str, password: &str) -> ReauthenticateRequest {
    let password = password.to_owned();
    ReauthenticateRequest {
        subject: by_token(access_token),
        proof: Some(reauthenticate_request::Proof::Password(password)),
        client: client(),
    }
}

async fn reauthenticate(
    world: &World<'_>,
    request: ReauthenticateRequest,
) -> Result<TokenPair, Status> {
    let answer = world.auth().reauthenticate(request).await?;
    let tokens = answer.into_inner().tokens.expect("tokens");
    world.keep_secret(&tokens);
    Ok(tokens)
}

/// When and how the user of a token authenticated.
async fn authentication(world: &World<'_>, access_token: &str) -> (i64, Vec<String>) {
    let claims = world.verify(access_token).await.claims.expect("active");
    (claims.auth_time.expect("a time").seconds, claims.amr)
}

fn denied(reason: &str) -> (Code, String) {
    (Code::PermissionDenied, reason.to_owned())
}

#[tokio::test]
async fn a_password_gives_an_access_token_as_fresh_as_that_of_a_new_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        let old = world.mint(&user.id).await;
        let opened = world.clock.now().secs();
        world.clock.advance(AGE);

        let new = reauthenticate(&world, proof(&old.access_token, PASSWORD)).await;
        let new = new.expect("proven");
        assert_eq!(new.session_id, old.session_id);
        assert_eq!(new.refresh_expire_time, old.refresh_expire_time);
        let fresh = (world.clock.now().secs(), vec!["pwd".to_owned()]);
        for channel in [world.channel(), other.channel.clone()] {
            let request = VerifyTokenRequest {
                access_token: new.access_token.clone(),
                audience: String::new(),
            };
            let verified = TokenServiceClient::new(channel).verify_token(request).await;
            let claims = verified
                .expect("verified")
                .into_inner()
                .claims
                .expect("active");
            let auth_time = claims.auth_time.expect("a time").seconds;
            assert_eq!((auth_time, claims.amr), fresh);
        }
        // Nothing else of the session is fresh.
        let stale = (opened, vec!["caller".to_owned()]);
        assert_eq!(authentication(&world, &old.access_token).await, stale);
        let next = world.refresh(&new.refresh_token).await.expect("rotates");
        assert_eq!(authentication(&world, &next.access_token).await, stale);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_lost_or_asked_for_twice_costs_nothing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, old) = world.signed_in("ann@example.com").await;
        let mut request = tonic::Request::new(proof(&old.access_token, PASSWORD));
        request.set_timeout(Duration::from_millis(1));
        let gave_up = world.auth().reauthenticate(request).await;
        gave_up.expect_err("the client's deadline is over");
        let both = join(
            reauthenticate(&world, proof(&old.access_token, PASSWORD)),
            reauthenticate(&world, proof(&old.access_token, PASSWORD)),
        );
        let (first, second) = both.await;
        for pair in [first.expect("proven"), second.expect("proven")] {
            assert_eq!(pair.refresh_token, old.refresh_token);
        }
        world.clock.advance(Duration::from_mins(1));
        world
            .refresh(&old.refresh_token)
            .await
            .expect("the current one");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_know_the_password_changes_nothing() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let (_, federated) = world.arrive("bea").await;
        let wrong = reauthenticate(&world, proof(&tokens.access_token, WRONG)).await;
        let none = reauthenticate(&world, proof(&federated.access_token, PASSWORD)).await;
        let [wrong, none] = [wrong, none].map(|answer| answer.expect_err("refused"));
        assert_eq!(reason(&wrong), unauthenticated("CREDENTIALS_WRONG"));
        assert_eq!(reason(&none), reason(&wrong));
        assert_eq!(wrong.message(), none.message());

        for token in ["", "no token", &tokens.refresh_token] {
            assert_eq!(
                refused(reauthenticate(&world, proof(token, PASSWORD)).await),
                unauthenticated("ACCESS_TOKEN_INVALID"),
            );
        }
        for session in [&tokens.session_id, &federated.session_id] {
            assert_eq!(generation(&world, session).await, 1);
        }
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);

        let ended = world.mint(&user.id).await;
        world.revoke(&ended.session_id).await;
        world.clock.advance(Duration::from_mins(15));
        for token in [&ended.access_token, &tokens.access_token] {
            assert_eq!(
                refused(reauthenticate(&world, proof(token, PASSWORD)).await),
                unauthenticated("ACCESS_TOKEN_INVALID"),
            );
        }
        let counted = |outcome| {
            let labels = format!("outcome=\"{outcome}\"");
            world.count("countersign_session_reauthentications_total", &labels)
        };
        assert_eq!(["proven", "refused", "failed"].map(counted), [0, 7, 0]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_banned_user_or_address_is_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let address = "198.51.100.7";
        for target in [
            ban_target_request::Target::IpAddress(address.to_owned()),
            ban_target_request::Target::UserId(user.id.clone()),
        ] {
            let request = BanTargetRequest {
                target: Some(target),
                reason: "spam".to_owned(),
                ..Default::default()
            };
            world
                .moderation()
                .ban_target(request)
                .await
                .expect("banned");
            let mut proof = proof(&tokens.access_token, PASSWORD);
            proof.client = client_at(address);
            assert_eq!(
                refused(reauthenticate(&world, proof).await),
                denied("BANNED")
            );
        }
        assert_eq!(
            refused(reauthenticate(&world, proof(&tokens.access_token, PASSWORD)).await),
            denied("BANNED")
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn guesses_are_limited_as_those_of_a_sign_in() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("LOGIN_MAX", "3")]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        for _ in 0..2 {
            assert_eq!(
                refused(reauthenticate(&world, proof(&tokens.access_token, WRONG)).await),
                unauthenticated("CREDENTIALS_WRONG")
            );
        }
        assert_eq!(
            refused(reauthenticate(&world, proof(&tokens.access_token, PASSWORD)).await),
            (Code::ResourceExhausted, "LIMIT_EXCEEDED".to_owned())
        );
        let violations = "SELECT COUNT(*) FROM violations WHERE type = 'logins'";
        assert_eq!(engine.number(violations).await, 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn only_the_users_own_token_and_a_password_are_taken() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let invalid = async |request: ReauthenticateRequest| {
            let answer = world.auth().reauthenticate(request).await;
            let status = answer.expect_err("refused");
            assert_eq!(reason(&status).1, "FIELDS_INVALID");
            fields(&status)
        };
        let all = ["client.ip_address", "password", "subject"];
        assert_eq!(invalid(ReauthenticateRequest::default()).await, all);
        for subject in [by_session(&tokens.session_id), by_user(&user.id)] {
            let request = ReauthenticateRequest {
                subject,
                ..proof("", PASSWORD)
            };
            assert_eq!(invalid(request).await, ["subject"]);
        }
        world.set("ALLOW_EMAIL_LOGIN", "false");
        world.restart().await;
        assert_eq!(
            refused(reauthenticate(&world, proof(&tokens.access_token, PASSWORD)).await),
            denied("LOGIN_CLOSED")
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn another_callers_session_is_not_touched() {
    let (chat, agents) = (
        Backend::new("chat", &["auth.sign_in", "token.*"]),
        Backend::new("agents", &["auth.sign_in", "token.*"]),
    );
    let file = CallersFile::new(&[&chat, &agents]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (_, tokens) = signed_in(&world, &chat, "ann@example.com").await;
        let ask = async |caller: &Backend| {
            let request = caller.sends(proof(&tokens.access_token, PASSWORD));
            world.auth().reauthenticate(request).await
        };
        let invalid = unauthenticated("ACCESS_TOKEN_INVALID");
        assert_eq!(refused(ask(&agents).await), invalid);
        assert_eq!(generation(&world, &tokens.session_id).await, 1);
        let answer = ask(&chat).await.expect("proven").into_inner();
        world.keep_secret(&answer.tokens.expect("tokens"));
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_the_same_time_as_a_refresh_the_session_goes_on() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..10 {
            let first = world.mint(&user.id).await;
            let (proven, refreshed) = join(
                reauthenticate(&world, proof(&first.access_token, PASSWORD)),
                world.refresh(&first.refresh_token),
            )
            .await;
            let proven = proven.expect("proven");
            let refreshed = refreshed.expect("rotated or repeated");
            for token in [&proven.access_token, &refreshed.access_token] {
                assert_eq!(world.verdict(token).await, ACTIVE);
            }
            assert_eq!(generation(&world, &first.session_id).await, 2);
            // If the refresh came later, this is the token of before, within its grace time.
            let pair = world.refresh(&proven.refresh_token).await.expect("good");
            let known = [&first.refresh_token, &refreshed.refresh_token];
            assert!(known.contains(&&proven.refresh_token));
            world.keep_secret(&pair);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn during_a_revocation_it_gives_no_token_that_is_still_valid_afterwards() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        for round in 0..12 {
            let first = world.mint(&user.id).await;
            let revoke = async {
                // Hashing the password takes tens of thousands of turns.
                for _ in 0..round * round * 400 {
                    tokio::task::yield_now().await;
                }
                world.revoke(&first.session_id).await;
            };
            let (proven, ()) = join(
                reauthenticate(&world, proof(&first.access_token, PASSWORD)),
                revoke,
            )
            .await;
            match proven {
                Err(status) => {
                    assert_eq!(reason(&status), unauthenticated("ACCESS_TOKEN_INVALID"));
                }
                Ok(pair) => {
                    assert_eq!(world.verdict(&pair.access_token).await, REVOKED);
                    assert_eq!(
                        refused(world.refresh(&pair.refresh_token).await),
                        unauthenticated("SESSION_REVOKED")
                    );
                }
            }
        }
        world.end().await;
    })
    .await;
}
