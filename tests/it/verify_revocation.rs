//! VerifyToken: how soon it knows that a session has ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::Code;

use crate::support::calls::{by_token, by_user};
use crate::support::engine::Engine;
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};
use crate::verify::{ACTIVE, INVALID, REVOKED};

const BANNED: (bool, InactiveReason) = (false, InactiveReason::Banned);
/// After this time a process knows what another one has changed.
const STALE: Duration = Duration::from_millis(1001);

fn ban_request(user_id: &str) -> BanTargetRequest {
    let target = Some(ban_target_request::Target::UserId(user_id.to_owned()));
    BanTargetRequest {
        target,
        reason: "spam".to_owned(),
        ..Default::default()
    }
}

async fn ban(world: &World<'_>, user_id: &str) -> String {
    let banned = world
        .moderation()
        .ban_target(ban_request(user_id))
        .await
        .expect("banned");
    banned.into_inner().ban.expect("a ban").id
}

/// A new session whose state the service has in its cache.
async fn warm(world: &World<'_>, user: &User) -> TokenPair {
    let tokens = world.mint(&user.id).await;
    assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
    tokens
}

#[tokio::test]
async fn a_session_that_ended_here_is_inactive_at_the_next_verification() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let logged_out = warm(&world, &user).await;
        let revoked = warm(&world, &user).await;
        let reused = warm(&world, &user).await;
        let other = warm(&world, &user).await;

        world
            .logout(&logged_out.refresh_token)
            .await
            .expect("logged out");
        assert_eq!(world.verdict(&logged_out.access_token).await, REVOKED);
        world.revoke(&revoked.session_id).await;
        assert_eq!(world.verdict(&revoked.access_token).await, REVOKED);

        let next = world
            .refresh(&reused.refresh_token)
            .await
            .expect("the next pair");
        assert_eq!(world.verdict(&next.access_token).await, ACTIVE);
        world.clock.advance(Duration::from_secs(21));
        world
            .refresh(&reused.refresh_token)
            .await
            .expect_err("reuse");
        for access_token in [&reused.access_token, &next.access_token] {
            assert_eq!(world.verdict(access_token).await, REVOKED);
        }
        assert_eq!(world.verdict(&other.access_token).await, ACTIVE);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn if_all_sessions_of_a_user_end_here_each_is_inactive_at_the_next_verification() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let swept = warm(&world, &user).await;
        let kept = warm(&world, &user).await;
        for pair in [&swept, &kept] {
            assert_eq!(world.verdict(&pair.access_token).await, ACTIVE);
        }
        let request = RevokeUserSessionsRequest {
            subject: by_token(&kept.access_token),
            except_session_id: kept.session_id.clone(),
        };
        world
            .tokens()
            .revoke_user_sessions(request)
            .await
            .expect("ended");
        assert_eq!(world.verdict(&swept.access_token).await, REVOKED);
        assert_eq!(world.verdict(&kept.access_token).await, ACTIVE);

        let ban_id = ban(&world, &user.id).await;
        for pair in [&kept, &swept] {
            assert_eq!(world.verdict(&pair.access_token).await, BANNED);
        }
        world
            .moderation()
            .lift_ban(LiftBanRequest { ban_id })
            .await
            .expect("lifted");
        assert_eq!(world.verdict(&kept.access_token).await, REVOKED);
        world.end().await;
    })
    .await;
}

/// Verifies a token until five verifications began after the revocation was answered. None of those
/// may find it active.
async fn watch(world: &World<'_>, access_token: &str, answered: &AtomicBool) {
    let mut after = 0;
    while after < 5 {
        let too_late = answered.load(Ordering::SeqCst);
        let verdict = world.verdict(access_token).await;
        assert!(
            !too_late || verdict == REVOKED,
            "active after the revocation was answered"
        );
        after += u32::from(too_late);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_no_verification_finds_a_session_active_after_its_revocation_was_answered() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (other, _) = world.signed_in("bob@example.com").await;
        for round in 0..10 {
            let tokens = world.mint(&user.id).await;
            let answered = AtomicBool::new(false);
            let revoke = async {
                for _ in 0..round {
                    // Meanwhile other sessions of this and of another user end, so that cached
                    // states keep changing.
                    for user in [&user, &other] {
                        world.mint(&user.id).await;
                        let request = RevokeUserSessionsRequest {
                            subject: by_user(&user.id),
                            except_session_id: tokens.session_id.clone(),
                        };
                        let ended = world.tokens().revoke_user_sessions(request).await;
                        let ended = ended.expect("ended").into_inner();
                        assert!(ended.revoked_count > 0);
                    }
                    world.clock.advance(STALE);
                }
                world.revoke(&tokens.session_id).await;
                answered.store(true, Ordering::SeqCst);
            };
            let watchers = join_all((0..8).map(|_| watch(&world, &tokens.access_token, &answered)));
            futures_util::future::join(watchers, revoke).await;
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_another_replica_changes_is_known_within_a_second() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let second = world.mint(&user.id).await;
        for pair in [&tokens, &second] {
            assert_eq!(world.verdict(&pair.access_token).await, ACTIVE);
        }
        let request = RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject: None,
        };
        other.tokens().revoke_session(request).await.expect("ended");
        engine
            .change("UPDATE users SET role = 'AUDITOR', email = 'ann@example.org'")
            .await;
        world.clock.advance(STALE);
        assert_eq!(world.verdict(&tokens.access_token).await, REVOKED);
        let claims = world
            .verify(&second.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!(
            (claims.role.as_str(), claims.email.as_str()),
            ("AUDITOR", "ann@example.org")
        );

        let mut there =
            moderation_service_client::ModerationServiceClient::new(other.channel.clone());
        there
            .ban_target(ban_request(&user.id))
            .await
            .expect("banned");
        world.clock.advance(STALE);
        assert_eq!(world.verdict(&second.access_token).await, BANNED);
        other.stop().await;
        world.end().await;
    })
    .await;
}

/// Runs a part of a test while the service has no store, so that it can only answer from memory.
async fn from_memory(engine: &Engine, test: impl AsyncFnOnce()) {
    engine.take_away().await;
    test().await;
    engine.give_back().await;
}

#[tokio::test]
async fn the_first_use_of_a_token_that_was_just_issued_is_answered_from_memory() {
    on_each_engine(async |engine| {
        let provider = Provider::start(json!({})).await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, federated) = world.arrive("ann").await;
        let (user, signed_in) = world.signed_in("bob@example.com").await;
        let minted = world.mint(&user.id).await;
        let opened = world.mint(&user.id).await;
        let refreshed = world.refresh(&opened.refresh_token).await.expect("rotated");
        let repeated = world.refresh(&opened.refresh_token).await.expect("again");
        from_memory(engine, async || {
            for pair in [&federated, &signed_in, &minted, &refreshed, &repeated] {
                assert_eq!(world.verdict(&pair.access_token).await, ACTIVE);
            }
        })
        .await;
        // What is remembered at issue is what the token says and what the store holds.
        for pair in [&federated, &signed_in, &minted, &refreshed] {
            let remembered = world.verify(&pair.access_token).await.claims;
            let other = world.another().await.expect("starts");
            let request = VerifyTokenRequest {
                access_token: pair.access_token.clone(),
                audience: String::new(),
            };
            let read = other.tokens().verify_token(request).await.expect("read");
            assert_eq!(read.into_inner().claims, remembered);
            other.stop().await;
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_happens_to_one_user_leaves_the_known_tokens_of_others_in_memory() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (ann, first) = world.signed_in("ann@example.com").await;
        let (_, bob) = world.signed_in("bob@example.com").await;
        assert_eq!(world.verdict(&bob.access_token).await, ACTIVE);
        world.revoke(&first.session_id).await;
        world.mint(&ann.id).await;
        let request = RevokeUserSessionsRequest {
            subject: by_user(&ann.id),
            except_session_id: String::new(),
        };
        let ended = world.tokens().revoke_user_sessions(request).await;
        ended.expect("ended");
        let ban_id = ban(&world, &ann.id).await;
        let lifted = world.moderation().lift_ban(LiftBanRequest { ban_id }).await;
        lifted.expect("lifted");
        world.login("ann@example.com").await;
        from_memory(engine, async || {
            assert_eq!(world.verdict(&bob.access_token).await, ACTIVE);
        })
        .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_changes_nothing_of_a_user_leaves_their_known_tokens_in_memory() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, live) = world.signed_in("ann@example.com").await;
        let ended = world.mint(&user.id).await;
        world.revoke(&ended.session_id).await;
        assert_eq!(world.verdict(&live.access_token).await, ACTIVE);
        assert_eq!(world.verdict(&ended.access_token).await, REVOKED);
        world.revoke(&ended.session_id).await;
        world.logout(&ended.refresh_token).await.expect("over");
        let request = RevokeUserSessionsRequest {
            subject: by_user(&user.id),
            except_session_id: live.session_id.clone(),
        };
        let revoked = world.tokens().revoke_user_sessions(request).await;
        assert_eq!(revoked.expect("none to end").into_inner().revoked_count, 0);
        let request = DeleteTokensRequest {
            subject: by_user(&user.id),
            ..Default::default()
        };
        let deleted = world.federation().delete_tokens(request).await;
        deleted.expect("none to delete");
        world.login("ann@example.com").await;
        from_memory(engine, async || {
            assert_eq!(world.verdict(&live.access_token).await, ACTIVE);
            assert_eq!(world.verdict(&ended.access_token).await, REVOKED);
        })
        .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_another_replica_ended_is_inactive_here_once_it_is_ended_here_too() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (_, tokens) = world.signed_in("ann@example.com").await;
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        let request = RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject: None,
        };
        other.tokens().revoke_session(request).await.expect("ended");
        world.revoke(&tokens.session_id).await;
        assert_eq!(world.verdict(&tokens.access_token).await, REVOKED);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn without_the_store_a_known_token_is_verified_for_half_a_minute_and_then_not_at_all() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (user, known) = world.signed_in("ann@example.com").await;
        let unseen = world.mint(&user.id).await;
        // A process remembers the tokens that it issues.
        world.restart().await;
        assert_eq!(world.verdict(&known.access_token).await, ACTIVE);
        let asked = async |access_token: &str| {
            let request = VerifyTokenRequest {
                access_token: access_token.to_owned(),
                audience: String::new(),
            };
            world.tokens().verify_token(request).await
        };
        let failing = async |access_token: &str| {
            reason(&asked(access_token).await.expect_err("no store, no verdict"))
        };
        let unavailable = (Code::Unavailable, "STORE_UNAVAILABLE".to_owned());

        engine.take_away().await;
        world.clock.advance(Duration::from_secs(30));
        assert_eq!(world.verdict(&known.access_token).await, ACTIVE);
        assert_eq!(failing(&unseen.access_token).await, unavailable);
        assert_eq!(world.verdict("no.token.ofours").await, INVALID);
        // Nobody may act on what is only remembered.
        let request = ListSessionsRequest {
            subject: by_token(&known.access_token),
            ..Default::default()
        };
        let listed = world.tokens().list_sessions(request).await;
        assert_eq!(reason(&listed.expect_err("no store")), unavailable);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(failing(&known.access_token).await, unavailable);
        let status = world
            .refresh(&known.refresh_token)
            .await
            .expect_err("no store");
        assert_eq!(reason(&status), unavailable);

        engine.give_back().await;
        // Each connection that was cut may still fail one call; after that it is not used again.
        let mut calls = 0;
        while asked(&unseen.access_token).await.is_err() {
            calls += 1;
            assert!(
                calls <= 20,
                "the service does not connect to its store again"
            );
        }
        for pair in [&known, &unseen] {
            assert_eq!(world.verdict(&pair.access_token).await, ACTIVE);
        }
        world
            .refresh(&known.refresh_token)
            .await
            .expect("nothing was spent");
        world.end().await;
    })
    .await;
}
