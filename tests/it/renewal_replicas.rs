//! Replicas that renew the same provider tokens: their clocks are never compared, and nobody's
//! tokens are lost.

use std::time::Duration;

use countersign::clock::Clock;
use countersign::grpc::proto::*;
use serde_json::json;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::renewal::{AGE, bearer_of, provider};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

/// How long an attempt without an outcome keeps others out.
const LEASE: Duration = Duration::from_secs(30);

type Call = JoinHandle<Result<String, Status>>;

/// A clock that shows a later time than the world's and then goes on by itself.
fn ahead(world: &World<'_>, by: Duration) -> Clock {
    Clock::manual(world.clock.now().plus(by))
}

fn bearer(channel: Channel, session: &TokenPair) -> Call {
    let access_token = session.access_token.clone();
    tokio::spawn(async move { bearer_of(channel, &access_token).await })
}

/// Begins a renewal whose answer takes `delay`, and returns once the provider was asked.
async fn begin(
    provider: &Provider,
    delay: Duration,
    channel: Channel,
    session: &TokenPair,
) -> Call {
    let delay = u64::try_from(delay.as_millis()).expect("short");
    let fault = json!({ "grant_type": "refresh_token", "delay_ms": delay, "times": 1 });
    provider.fail(fault).await;
    let call = bearer(channel, session);
    provider.wait_for_refreshes(1).await;
    call
}

/// Lets time pass on a clock until a call is answered.
async fn pass(clock: &Clock, call: Call) -> Result<String, Status> {
    while !call.is_finished() {
        clock.advance(Duration::from_secs(1));
        // The call reads the row again after a pause.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    call.await.expect("no panic")
}

#[tokio::test]
async fn a_replica_whose_clock_is_ahead_waits_for_a_renewal_and_gives_its_token() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let clock = ahead(&world, Duration::from_mins(2));
        let other = world.another_at(clock).await.expect("a replica");
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let delay = Duration::from_millis(500);
        let first = begin(&provider, delay, world.channel(), &session).await;
        let second = bearer(other.channel.clone(), &session);
        let first = first.await.expect("no panic").expect("renewed");
        let second = second.await.expect("no panic").expect("renewed");
        assert_eq!(first, second);
        assert_eq!(provider.stats().await.refreshes(), 1);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn tokens_that_come_after_another_replica_gave_the_renewal_up_are_kept() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let clock = ahead(&world, AGE);
        let other = world.another_at(clock.clone()).await.expect("a replica");
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let delay = Duration::from_secs(3);
        let slow = begin(&provider, delay, world.channel(), &session).await;
        let given_up = pass(&clock, bearer(other.channel.clone(), &session)).await;
        assert_eq!(
            reason(&given_up.expect_err("given up")),
            (Code::FailedPrecondition, "RECONNECT_REQUIRED".to_owned())
        );
        assert!(!slow.is_finished());
        let renewed = slow.await.expect("no panic").expect("renewed");
        world.clock.advance(Duration::from_secs(2));
        clock.advance(Duration::from_secs(2));
        for channel in [world.channel(), other.channel.clone()] {
            let given = bearer(channel, &session).await.expect("no panic");
            assert_eq!(given.expect("kept"), renewed);
        }
        assert_eq!(provider.stats().await.refreshes(), 1);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_killed_replica_s_renewal_is_given_up_once_it_was_seen_for_the_lease_s_length() {
    let provider = provider().await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let mortal = world.mortal().await;
        let (_, session) = world.arrive("ann").await;
        world.clock.advance(AGE);
        let delay = Duration::from_secs(4);
        let channel = mortal.replica.channel.clone();
        let cut_off = begin(&provider, delay, channel, &session).await;
        mortal.kill();
        cut_off.await.expect("no panic").expect_err("killed");
        // However old the attempt is, it counts from when it was seen.
        world.clock.advance(LEASE * 10);
        let waiting = bearer(world.channel(), &session);
        let status = waiting.await.expect("no panic").expect_err("unknown");
        assert_eq!(reason(&status).1, "PROVIDER_UNAVAILABLE");
        let held = async || {
            world
                .held(&session.access_token, FederatedTokenKind::Access)
                .await
        };
        assert_eq!(
            held().await.expect("held").state(),
            FederatedTokenState::Refreshing
        );
        world.clock.advance(LEASE);
        assert_eq!(
            world.no_bearer(&session.access_token).await,
            "RECONNECT_REQUIRED"
        );
        assert_eq!(provider.stats().await.refreshes(), 1);
        world.end().await;
    })
    .await;
}
