//! A signed-in user authenticates again.

use std::time::Duration;

use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::watch_revocations_response::Change;
use countersign::grpc::proto::*;
use futures_util::future::join;
use serde_json::json;
use tonic::{Code, Status};

use crate::callers::{CALLERS, signed_in};
use crate::login::WRONG;
use crate::refresh::{generation, refused, unauthenticated};
use crate::revocations::{next_news, snapshot, watch};
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
async fn a_password_makes_the_session_as_fresh_as_a_new_one() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        let old = world.mint(&user.id).await;
        let mut events = watch(&other, "").await.expect("watching");
        snapshot(&mut events).await;
        let before = world.clock.now().secs();
        world.clock.advance(AGE);

        let new = reauthenticate(&world, proof(&old.access_token, PASSWORD)).await;
        let new = new.expect("proven");
        assert_eq!(new.session_id, old.session_id);
        assert_eq!(new.refresh_expire_time, old.refresh_expire_time);
        let (fresh, stale) = (
            (world.clock.now().secs(), vec!["pwd".to_owned()]),
            (before, vec!["caller".to_owned()]),
        );
        assert_eq!(authentication(&world, &new.access_token).await, fresh);
        assert_eq!(authentication(&world, &old.access_token).await, stale);
        let told = Change::UserChanged(UserChanged {
            user_id: user.id.clone(),
        });
        assert_eq!(next_news(&mut events).await.1, Some(told));
        for token in [&new.access_token, &old.access_token] {
            let request = VerifyTokenRequest {
                access_token: token.clone(),
                audience: String::new(),
            };
            let mut tokens = TokenServiceClient::new(other.channel.clone());
            let answer = tokens.verify_token(request).await.expect("verified");
            assert!(answer.into_inner().active);
        }
        world.clock.advance(Duration::from_mins(1));
        let next = world.refresh(&new.refresh_token).await.expect("rotates");
        assert_eq!(authentication(&world, &next.access_token).await, fresh);
        drop(events);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_refresh_token_of_before_counts_as_used() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, old) = world.signed_in("ann@example.com").await;
        let new = reauthenticate(&world, proof(&old.access_token, PASSWORD)).await;
        let new = new.expect("proven");
        world.clock.advance(Duration::from_secs(20));
        let again = world.refresh(&old.refresh_token).await.expect("in time");
        assert_eq!(again.refresh_token, new.refresh_token);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(
            refused(world.refresh(&old.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        assert_eq!(world.verdict(&new.access_token).await, REVOKED);
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
            let reached = generation(&world, &first.session_id).await;
            assert!((2..=3).contains(&reached), "{reached}");
            // The refresh came first, or it got the same successor.
            let is_same = proven.refresh_token == refreshed.refresh_token;
            assert_eq!(is_same, reached == 2);
            world.refresh(&proven.refresh_token).await.expect("current");
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
