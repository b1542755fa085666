//! WatchRevocations: how a watch ends, and which cursors are refused.

use std::time::Duration;

use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use tonic::Code;

use crate::revocations::{Events, HEARTBEAT, next, next_news, snapshot, watch};
use crate::support::binary::Binary;
use crate::support::calls::fields;
use crate::support::world::{Replica, time_passes};
use crate::support::{World, on_each_engine, reason};

/// The error with which a watch ends.
async fn failure(events: &mut Events) -> (Code, String) {
    loop {
        match events.message().await {
            Ok(event) => assert!(event.is_some(), "it ended without an error"),
            Err(status) => return reason(&status),
        }
    }
}

#[tokio::test]
async fn a_cursor_that_is_too_old_of_another_epoch_or_none_is_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let expired = (Code::OutOfRange, "CURSOR_EXPIRED".to_owned());
        let mut events = watch(world.replica(), "").await.expect("watching");
        let (_, start) = snapshot(&mut events).await;
        let session = world.mint(&user.id).await.session_id;
        world.revoke(&session).await;
        let (now, _) = next_news(&mut events).await;

        let future = format!("{now}9");
        let status = watch(world.replica(), &future).await.expect_err("not yet");
        assert_eq!(reason(&status), expired);
        let status = watch(world.replica(), "x").await.expect_err("no cursor");
        assert_eq!(reason(&status), (Code::InvalidArgument, "FIELDS_INVALID".to_owned()));
        assert_eq!(fields(&status), ["cursor"]);

        // As the cleaner does after a day.
        engine.execute("DELETE FROM changes").await;
        let other = world.another().await.expect("starts");
        let mut old = watch(&other, &start).await.expect("watching");
        assert_eq!(failure(&mut old).await, expired);
        let mut current = watch(&other, &now).await.expect("watching");
        assert_eq!(next(&mut current).await.0, now);

        engine.execute("UPDATE markers SET value = '00112233445566778899aabbccddeeff' WHERE name = 'epoch'").await;
        for events in [&mut events, &mut current] {
            assert_eq!(failure(events).await, expired);
        }
        let status = watch(world.replica(), &now).await.expect_err("another epoch");
        assert_eq!(reason(&status), expired);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_epoch_bump_every_process_reads_the_store_again_and_watches_begin_anew() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let role = async |replica: &Replica| {
            let access_token = tokens.access_token.clone();
            let request = VerifyTokenRequest {
                access_token,
                audience: String::new(),
            };
            let mut tokens = TokenServiceClient::new(replica.channel.clone());
            let answer = tokens.verify_token(request).await.expect("a verdict");
            answer.into_inner().claims.expect("active").role
        };
        let both = async || [role(world.replica()).await, role(&other).await];
        assert_eq!(both().await, ["ADMIN", "ADMIN"]);
        let mut events = watch(&other, "").await.expect("watching");
        snapshot(&mut events).await;
        // Somebody changes a row by hand.
        engine.execute("UPDATE users SET role = 'AUDITOR'").await;
        world.clock.advance(Duration::from_mins(1));
        assert_eq!(both().await, ["ADMIN", "ADMIN"]);

        let settings = engine.settings();
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let bump = || Binary::new().run(&["epoch", "bump"], &settings);
        let bumped = tokio::task::block_in_place(bump);
        assert!(bumped.succeeded, "{}", bumped.error);
        assert!(
            bumped.out.starts_with("the store has a new epoch"),
            "{}",
            bumped.out
        );
        world.clock.advance(Duration::from_secs(2));
        assert_eq!(both().await, ["AUDITOR", "AUDITOR"]);
        let expired = (Code::OutOfRange, "CURSOR_EXPIRED".to_owned());
        assert_eq!(failure(&mut events).await, expired);
        drop(events);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_watch_beats_every_five_seconds_and_ends_after_ten_minutes_or_with_the_service() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let mut events = watch(&other, "").await.expect("watching");
        snapshot(&mut events).await;
        other.stop().await;
        let stopping = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
        assert_eq!(failure(&mut events).await, stopping);

        let mut events = watch(world.replica(), "").await.expect("watching");
        snapshot(&mut events).await;
        let open = |count| world.count("countersign_revocation_watchers", "") == count;
        assert!(open(1));
        assert_eq!(next(&mut events).await.1, HEARTBEAT);
        for _ in 0..3 {
            time_passes(Duration::from_secs(5)).await;
            assert_eq!(next(&mut events).await.1, HEARTBEAT);
        }
        time_passes(Duration::from_mins(10)).await;
        while events.message().await.expect("no error").is_some() {}
        drop(events);
        while !open(0) {
            tokio::task::yield_now().await;
        }
        world.end().await;
    })
    .await;
}
