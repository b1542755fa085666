//! Refresh tokens: rotation, the grace time, reuse, and what must not happen between them.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Timestamp;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use futures_util::future::{join, join_all};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_user, register_request};
use crate::support::{World, client, on_each_engine, reason};

const GRACE: Duration = Duration::from_secs(10);
const PAST_GRACE: Duration = Duration::from_millis(10_001);
const HOUR: Duration = Duration::from_hours(1);

fn refused<T>(answer: Result<T, Status>) -> (Code, String) {
    reason(&answer.err().expect("must be refused"))
}

fn unauthenticated(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.to_owned())
}

async fn generation(world: &World<'_>, session: &str) -> i64 {
    world
        .engine
        .number(&format!(
            "SELECT generation FROM sessions WHERE id = '{session}'"
        ))
        .await
}

async fn set_generation(world: &World<'_>, session: &str, generation: i64) {
    world
        .engine
        .execute(&format!(
            "UPDATE sessions SET generation = {generation} WHERE id = '{session}'"
        ))
        .await;
}

#[tokio::test]
async fn a_refresh_token_works_once_and_a_copy_of_it_ends_the_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        assert_ne!(first.refresh_token, second.refresh_token);
        assert_eq!(
            (&second.session_id, second.refresh_expire_time),
            (&first.session_id, first.refresh_expire_time)
        );
        assert!(world.verdict(&second.access_token).await.0);

        world.clock.advance(PAST_GRACE);
        assert_eq!(
            refused(world.refresh(&first.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        for access_token in [&first.access_token, &second.access_token] {
            assert_eq!(
                world.verdict(access_token).await,
                (false, InactiveReason::SessionRevoked)
            );
        }
        for refresh_token in [&first.refresh_token, &second.refresh_token] {
            assert_eq!(
                refused(world.refresh(refresh_token).await),
                unauthenticated("SESSION_REVOKED")
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_token_before_gets_the_very_same_successor_for_ten_seconds() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        let mut access_tokens = BTreeSet::from([second.access_token.clone()]);
        for wait in [Duration::ZERO, GRACE] {
            world.clock.advance(wait);
            let again = world
                .refresh(&first.refresh_token)
                .await
                .expect("the same pair");
            assert_eq!(again.refresh_token, second.refresh_token);
            assert!(world.verdict(&again.access_token).await.0);
            access_tokens.insert(again.access_token);
        }
        assert_eq!(access_tokens.len(), 3);
        assert_eq!(generation(&world, &first.session_id).await, 2);
        world
            .refresh(&second.refresh_token)
            .await
            .expect("the successor is good for its own use");
        world.end().await;
    })
    .await;
}

/// Refreshes one token many times at once.
async fn refresh_all(
    clients: impl Iterator<Item = TokenServiceClient<Channel>>,
    token: &str,
) -> Vec<TokenPair> {
    let calls = clients.map(async |mut tokens| {
        let request = RefreshSessionRequest {
            refresh_token: token.to_owned(),
            client: client(),
        };
        tokens
            .refresh_session(request)
            .await
            .expect("the next pair")
            .into_inner()
            .tokens
            .expect("tokens")
    });
    join_all(calls).await
}

async fn assert_one_step(world: &World<'_>, pairs: &[TokenPair]) {
    let successors: BTreeSet<_> = pairs.iter().map(|pair| &pair.refresh_token).collect();
    let access_tokens: BTreeSet<_> = pairs.iter().map(|pair| &pair.access_token).collect();
    assert_eq!((successors.len(), access_tokens.len()), (1, pairs.len()));
    assert_eq!(generation(world, &pairs[0].session_id).await, 2);
    for pair in pairs {
        world.keep_secret(pair);
        assert!(world.verdict(&pair.access_token).await.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_refreshes_at_once_make_one_step_and_get_one_successor() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let pairs = refresh_all((0..20).map(|_| world.tokens()), &first.refresh_token).await;
        assert_one_step(&world, &pairs).await;
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_that_refresh_one_token_at_once_agree() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..5 {
            let first = world.mint(&user.id).await;
            let replicas = (0..10).map(|i| {
                if i % 2 == 0 {
                    world.tokens()
                } else {
                    other.tokens()
                }
            });
            assert_one_step(&world, &refresh_all(replicas, &first.refresh_token).await).await;
        }
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn two_generations_behind_is_reuse_even_within_the_grace_time() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        let third = world
            .refresh(&second.refresh_token)
            .await
            .expect("the next pair");
        assert_eq!(
            refused(world.refresh(&first.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        assert_eq!(
            refused(world.refresh(&third.refresh_token).await),
            unauthenticated("SESSION_REVOKED")
        );
        assert_eq!(
            world.verdict(&third.access_token).await,
            (false, InactiveReason::SessionRevoked)
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_thief_who_shares_the_grace_time_is_found_out_at_the_next_use() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, stolen) = world.signed_in("ann@example.com").await;
        let victim = world
            .refresh(&stolen.refresh_token)
            .await
            .expect("the victim's");
        let thief = world
            .refresh(&stolen.refresh_token)
            .await
            .expect("the thief's");
        assert_eq!(victim.refresh_token, thief.refresh_token);
        world.clock.advance(Duration::from_mins(15));
        let victim = world
            .refresh(&victim.refresh_token)
            .await
            .expect("the victim's");
        world.clock.advance(PAST_GRACE);
        assert_eq!(
            refused(world.refresh(&thief.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        assert_eq!(
            refused(world.refresh(&victim.refresh_token).await),
            unauthenticated("SESSION_REVOKED")
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn each_of_fifty_tokens_spent_in_one_instant_is_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let mut spent = vec![first.refresh_token.clone()];
        for _ in 0..50 {
            let next = world
                .refresh(spent.last().expect("one"))
                .await
                .expect("the next pair");
            spent.push(next.refresh_token);
        }
        // The last is current and the one before it has its grace time.
        for refresh_token in &spent[..49] {
            assert_eq!(
                refused(world.refresh(refresh_token).await),
                unauthenticated("REFRESH_TOKEN_REUSED")
            );
            world
                .engine
                .execute("UPDATE sessions SET revoke_time = NULL, revoke_reason = NULL")
                .await;
        }
        world
            .refresh(&spent[49])
            .await
            .expect("within its grace time");
        world.refresh(&spent[50]).await.expect("current");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_clock_set_back_revives_no_spent_token_and_stops_no_good_one() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let other = world.mint(&user.id).await;
        world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        let ended = other.access_token;
        world.clock.advance(HOUR);
        assert_eq!(
            world.verdict(&ended).await,
            (false, InactiveReason::Expired)
        );
        let other = world
            .refresh(&other.refresh_token)
            .await
            .expect("the next pair");
        world.clock.set(world.clock.now().minus(HOUR));
        assert_eq!(
            world.verdict(&ended).await,
            (false, InactiveReason::Expired)
        );
        assert_eq!(
            refused(world.refresh(&first.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        let other = world
            .refresh(&other.refresh_token)
            .await
            .expect("the next pair");
        assert!(world.verdict(&other.access_token).await.0);
        world.clock.set(world.clock.now().plus(HOUR));
        world
            .refresh(&other.refresh_token)
            .await
            .expect("the next pair");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn refreshing_never_moves_the_end_of_the_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REFRESH_TOKEN_EXPIRY", "60 * 60 * 1000")]).await;
        let start = world.clock.now();
        let (_, mut pair) = world.signed_in("ann@example.com").await;
        let end = pair.refresh_expire_time;
        assert_eq!(end.map(|end| end.seconds), Some(start.plus(HOUR).secs()));
        for _ in 0..3 {
            world.clock.advance(Duration::from_mins(15));
            pair = world
                .refresh(&pair.refresh_token)
                .await
                .expect("the next pair");
            assert_eq!(pair.refresh_expire_time, end);
        }
        let end = Timestamp::from_secs(start.plus(HOUR).secs());
        world.clock.set(end.minus(Duration::from_millis(1)));
        let last = world
            .refresh(&pair.refresh_token)
            .await
            .expect("the last pair");
        assert_eq!(last.access_expire_time, last.refresh_expire_time);
        assert!(world.verdict(&last.access_token).await.0);
        world.clock.set(end);
        for refresh_token in [&pair.refresh_token, &last.refresh_token] {
            assert_eq!(
                refused(world.refresh(refresh_token).await),
                unauthenticated("REFRESH_TOKEN_EXPIRED")
            );
        }
        assert_eq!(
            world.verdict(&last.access_token).await,
            (false, InactiveReason::Expired)
        );
        world.end().await;
    })
    .await;
}

/// The token with a byte of its body changed and its checksum made good again.
fn forged(token: &str, position: usize) -> String {
    let mut bytes = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("csr_").expect("the prefix"))
        .expect("base64url");
    bytes[position] ^= 1;
    let body = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..body]).to_be_bytes();
    bytes[body..].copy_from_slice(&checksum);
    format!("csr_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn no_forged_token_is_taken_and_none_changes_anything() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, pair) = world.signed_in("ann@example.com").await;
        let good = &pair.refresh_token;
        let mut bad: Vec<String> = (0..60).map(|position| forged(good, position)).collect();
        bad.extend(
            [
                "",
                "csr_",
                "x",
                "csr_ü",
                &good[..good.len() - 1],
                &good[4..],
                &pair.access_token,
            ]
            .map(str::to_owned),
        );
        bad.extend([
            format!("{good}A"),
            format!(" {good}"),
            good.to_uppercase(),
            "x".repeat(200 * 1024),
        ]);
        for token in &bad {
            assert_eq!(
                refused(world.refresh(token).await),
                unauthenticated("REFRESH_TOKEN_INVALID"),
                "{token:.80}"
            );
            assert_eq!(
                refused(world.logout(token).await),
                unauthenticated("REFRESH_TOKEN_INVALID"),
                "{token:.80}"
            );
        }
        assert_eq!(generation(&world, &pair.session_id).await, 1);
        assert!(world.verdict(&pair.access_token).await.0);
        world
            .refresh(good)
            .await
            .expect("the good one is still good");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_token_ahead_of_the_store_says_so_and_leaves_the_session_alone() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, first) = world.signed_in("ann@example.com").await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        set_generation(&world, &first.session_id, 1).await;
        let rolled_back = (Code::FailedPrecondition, "STORE_ROLLED_BACK".to_owned());
        assert_eq!(
            refused(world.refresh(&second.refresh_token).await),
            rolled_back
        );
        assert_eq!(generation(&world, &first.session_id).await, 1);
        assert!(world.verdict(&second.access_token).await.0);
        let again = world
            .refresh(&first.refresh_token)
            .await
            .expect("current again");
        assert_eq!(again.refresh_token, second.refresh_token);
        world
            .logout(&first.refresh_token)
            .await
            .expect("any genuine generation logs out");
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_good_once_a_racing_revocation_has_been_answered() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..40 {
            let first = world.mint(&user.id).await;
            let both = (
                world.refresh(&first.refresh_token),
                world.refresh(&first.refresh_token),
            );
            let ((one, two), ()) =
                join(join(both.0, both.1), world.revoke(&first.session_id)).await;
            for answer in [one, two] {
                match answer {
                    Err(status) => assert_eq!(reason(&status), unauthenticated("SESSION_REVOKED")),
                    Ok(pair) => {
                        assert_eq!(
                            world.verdict(&pair.access_token).await,
                            (false, InactiveReason::SessionRevoked)
                        );
                        assert_eq!(
                            refused(world.refresh(&pair.refresh_token).await),
                            unauthenticated("SESSION_REVOKED")
                        );
                    }
                }
            }
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn what_is_known_of_the_users_device_is_renewed_and_kept() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let seen = async || {
            let request = ListSessionsRequest {
                subject: by_user(&user.id),
                ..Default::default()
            };
            let session = world
                .tokens()
                .list_sessions(request)
                .await
                .expect("listed")
                .into_inner()
                .sessions
                .remove(0);
            (session.client.expect("a client"), session.refresh_time)
        };
        let (before, _) = seen().await;
        world.clock.advance(HOUR);
        let request = RefreshSessionRequest {
            refresh_token: first.refresh_token,
            client: None,
        };
        let second = world
            .tokens()
            .refresh_session(request)
            .await
            .expect("the next pair")
            .into_inner();
        assert_eq!(second.user.expect("a user").id, user.id);
        let (kept, renewed) = seen().await;
        assert_eq!(
            (kept, renewed.map(|time| time.seconds)),
            (before.clone(), Some(world.clock.now().secs()))
        );

        let moved = ClientContext {
            ip_address: "2001:db8::7".to_owned(),
            ..Default::default()
        };
        let refresh_token = second.tokens.expect("tokens").refresh_token;
        let request = RefreshSessionRequest {
            refresh_token: refresh_token.clone(),
            client: Some(moved.clone()),
        };
        world
            .tokens()
            .refresh_session(request)
            .await
            .expect("the next pair");
        assert_eq!(
            seen().await.0,
            ClientContext {
                ip_address: moved.ip_address,
                ..before
            }
        );

        let nowhere = ClientContext {
            ip_address: "nowhere".to_owned(),
            ..Default::default()
        };
        let request = RefreshSessionRequest {
            refresh_token,
            client: Some(nowhere),
        };
        assert_eq!(
            refused(world.tokens().refresh_session(request).await),
            (Code::InvalidArgument, "FIELDS_INVALID".to_owned())
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn any_genuine_token_logs_its_session_out_and_may_do_so_again() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let other = world.mint(&user.id).await;
        let second = world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        world.clock.advance(HOUR);
        for _ in 0..2 {
            world
                .logout(&first.refresh_token)
                .await
                .expect("logged out");
        }
        world
            .logout(&second.refresh_token)
            .await
            .expect("logged out before");
        assert_eq!(
            refused(world.refresh(&second.refresh_token).await),
            unauthenticated("SESSION_REVOKED")
        );
        world
            .refresh(&other.refresh_token)
            .await
            .expect("another session goes on");
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn another_callers_session_is_neither_refreshed_nor_harmed() {
    let file = Listed::new(&[
        ("chat", &["auth.sign_in", "token.refresh"]),
        ("rogue", &["auth.sign_in", "token.refresh"]),
    ]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", &file.path())]).await;
        let (mut auth, mut tokens) = (world.auth(), world.tokens());
        auth.register(sent_with(
            &file.tokens[0],
            register_request("ann@example.com"),
        ))
        .await
        .expect("registered");
        let login = crate::support::calls::login_request(
            "ann@example.com",
            crate::support::calls::PASSWORD,
        );
        let answer = auth
            .login(sent_with(&file.tokens[0], login))
            .await
            .expect("signed in")
            .into_inner();
        let Some(login_response::Result::SignedIn(signed_in)) = answer.result else {
            panic!("not signed in")
        };
        let refresh_token = signed_in.tokens.expect("tokens").refresh_token;
        let request = || RefreshSessionRequest {
            refresh_token: refresh_token.clone(),
            client: None,
        };

        assert_eq!(
            refused(
                tokens
                    .refresh_session(sent_with(&file.tokens[1], request()))
                    .await
            ),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        let logout = LogoutRequest {
            refresh_token: refresh_token.clone(),
        };
        assert_eq!(
            refused(auth.logout(sent_with(&file.tokens[1], logout)).await),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(
            engine
                .number("SELECT generation FROM sessions WHERE revoke_time IS NULL")
                .await,
            1
        );
        tokens
            .refresh_session(sent_with(&file.tokens[0], request()))
            .await
            .expect("its own caller's");
        assert_eq!(
            refused(
                tokens
                    .refresh_session(sent_with(&file.tokens[1], request()))
                    .await
            ),
            unauthenticated("REFRESH_TOKEN_INVALID")
        );
        assert_eq!(
            engine
                .number("SELECT generation FROM sessions WHERE revoke_time IS NULL")
                .await,
            2
        );
        world.end().await;
    })
    .await;
}
