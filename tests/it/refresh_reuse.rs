//! Refresh tokens that were used before or are forged.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::grpc::proto::*;
use tonic::Code;

use crate::refresh::{HOUR, generation, refused, unauthenticated};
use crate::support::{World, on_each_engine};

const PAST_GRACE: Duration = Duration::from_millis(20_001);

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
async fn a_token_two_generations_old_counts_as_reused_even_within_the_grace_time() {
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
async fn a_theft_within_the_grace_time_is_detected_at_the_next_use() {
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
async fn each_of_fifty_tokens_used_in_one_instant_is_refused_afterwards() {
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
        // The last one is current, and the one before it is within its grace time.
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
async fn setting_the_clock_back_makes_no_used_token_valid_and_no_valid_token_invalid() {
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
async fn after_the_clock_was_set_back_the_grace_time_still_ends_and_tokens_and_bans_expire() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let banned = world.register("bob@example.com").await;
        let other = world.mint(&user.id).await;
        world
            .moderation()
            .ban_target(BanTargetRequest {
                target: Some(ban_target_request::Target::UserId(banned.id)),
                duration: Some(prost_types::Duration {
                    seconds: 60,
                    nanos: 0,
                }),
                reason: "spam".to_owned(),
                request_id: String::new(),
            })
            .await
            .expect("banned");
        world
            .refresh(&first.refresh_token)
            .await
            .expect("the next pair");
        world.clock.set(world.clock.now().minus(HOUR));
        world.clock.advance(Duration::from_mins(16));
        assert_eq!(
            refused(world.refresh(&first.refresh_token).await),
            unauthenticated("REFRESH_TOKEN_REUSED")
        );
        assert_eq!(
            world.verdict(&other.access_token).await,
            (false, InactiveReason::Expired)
        );
        // The ban is over.
        world.login("bob@example.com").await;
        world.end().await;
    })
    .await;
}

/// The token with one byte of its body changed and the checksum corrected.
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
async fn forged_tokens_are_refused_and_change_nothing() {
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
async fn a_token_newer_than_the_store_is_reported_as_a_rollback_and_changes_nothing() {
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
