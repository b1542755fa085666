//! How long access tokens live.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::*;

use crate::support::{World, on_each_engine};

/// For how many seconds each of so many new tokens lives.
async fn lifetimes(world: &World<'_>, user: &str, count: usize) -> Vec<i64> {
    let mut lifetimes = Vec::new();
    for _ in 0..count {
        let tokens = world.mint(user).await;
        let claims = world.verify(&tokens.access_token).await.claims;
        let claims = claims.expect("active");
        assert_eq!(claims.expire_time, tokens.access_expire_time);
        let end = claims.expire_time.expect("a time").seconds;
        lifetimes.push(end - claims.issue_time.expect("a time").seconds);
    }
    lifetimes
}

#[tokio::test]
async fn tokens_that_are_issued_at_once_do_not_expire_at_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let lifetimes = lifetimes(&world, &user.id, 60).await;
        assert!(
            lifetimes.iter().all(|life| (855..=900).contains(life)),
            "{lifetimes:?}"
        );
        let different: BTreeSet<_> = lifetimes.iter().collect();
        assert!(different.len() > 10, "{lifetimes:?}");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_short_lifetime_is_not_shortened_and_no_token_outlives_its_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("SESSION_EXPIRY", "1000 * 19")]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        assert_eq!(lifetimes(&world, &user.id, 20).await, [19; 20]);
        let request = MintSessionRequest {
            user_id: user.id,
            ttl: Some(prost_types::Duration {
                seconds: 7,
                nanos: 0,
            }),
            ..Default::default()
        };
        let minted = world.tokens().mint_session(request).await.expect("minted");
        let tokens = minted.into_inner().tokens.expect("tokens");
        assert_eq!(tokens.access_expire_time, tokens.refresh_expire_time);
        world.clock.advance(Duration::from_secs(7));
        assert!(!world.verdict(&tokens.access_token).await.0);
        world.end().await;
    })
    .await;
}
