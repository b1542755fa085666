//! WatchRevocations: what it tells.

use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::watch_revocations_response::Change;
use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Status, Streaming};

use crate::support::calls::by_user;
use crate::support::provider::Provider;
use crate::support::world::Replica;
use crate::support::{World, on_each_engine};
use crate::verify::REVOKED;

pub(crate) const HEARTBEAT: Option<Change> = Some(Change::Heartbeat(Heartbeat {}));

pub(crate) type Events = Streaming<WatchRevocationsResponse>;

pub(crate) async fn watch(replica: &Replica, cursor: &str) -> Result<Events, Status> {
    let cursor = cursor.to_owned();
    let mut tokens = TokenServiceClient::new(replica.channel.clone());
    let watch = tokens.watch_revocations(WatchRevocationsRequest { cursor });
    watch.await.map(tonic::Response::into_inner)
}

pub(crate) async fn next(events: &mut Events) -> (String, Option<Change>) {
    let event = events.message().await.expect("no error").expect("an event");
    (event.cursor, event.change)
}

/// The next event that is no heartbeat.
pub(crate) async fn next_news(events: &mut Events) -> (String, Option<Change>) {
    loop {
        let event = next(events).await;
        if !matches!(event.1, Some(Change::Heartbeat(_))) {
            return event;
        }
    }
}

/// The events of a snapshot, and the cursor at its end.
pub(crate) async fn snapshot(events: &mut Events) -> (Vec<Change>, String) {
    let mut told = Vec::new();
    loop {
        let (cursor, change) = next(events).await;
        match change.expect("known") {
            Change::SnapshotEnd(_) => return (told, cursor),
            change => {
                assert_eq!(cursor, "", "{change:?}");
                told.push(change);
            }
        }
    }
}

fn ended(session: &str) -> Change {
    let session_id = session.to_owned();
    Change::SessionRevoked(SessionRevoked { session_id })
}

async fn ban(world: &World<'_>, target: ban_target_request::Target) -> Ban {
    let request = BanTargetRequest {
        target: Some(target),
        reason: "spam".to_owned(),
        ..Default::default()
    };
    let banned = world
        .moderation()
        .ban_target(request)
        .await
        .expect("banned");
    banned.into_inner().ban.expect("a ban")
}

async fn lift(world: &World<'_>, ban_id: String) {
    let lifted = world.moderation().lift_ban(LiftBanRequest { ban_id }).await;
    lifted.expect("lifted");
}

async fn revoke_all(world: &World<'_>, user: &str, except: &str) {
    let request = RevokeUserSessionsRequest {
        subject: by_user(user),
        except_session_id: except.to_owned(),
    };
    let revoked = world.tokens().revoke_user_sessions(request).await;
    assert!(revoked.expect("ended").into_inner().revoked_count > 0);
}

fn not_before(world: &World<'_>, user: &str, except: &str) -> Change {
    let seconds = world.clock.now().secs() + 1;
    Change::UserNotBefore(UserNotBefore {
        user_id: user.to_owned(),
        not_before: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        except_session_id: except.to_owned(),
    })
}

#[tokio::test]
async fn a_new_watcher_is_told_all_that_still_matters() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, kept) = world.signed_in("ann@example.com").await;
        let over = world.mint(&user.id).await;
        world.revoke(&over.session_id).await;
        world.mint(&user.id).await;
        revoke_all(&world, &user.id, &kept.session_id).await;
        let ended_all = not_before(&world, &user.id, &kept.session_id);
        let address = ban_target_request::Target::IpAddress("203.0.113.9".to_owned());
        let lifted = ban(&world, address.clone()).await.id;
        let in_force = ban(&world, address).await;
        lift(&world, lifted).await;

        let mut events = watch(world.replica(), "").await.expect("watching");
        let (told, cursor) = snapshot(&mut events).await;
        let expected = [Change::Ban(in_force), ended(&over.session_id), ended_all];
        assert_eq!(told, expected);
        assert_eq!(next(&mut events).await, (cursor, HEARTBEAT));
        drop(events);
        world.end().await;
    })
    .await;
}

/// A watch from the first cursor on tells of the others once more, and one from the last of none.
async fn goes_on(world: &World<'_>, first: &str, later: [&str; 2]) {
    let mut again = watch(world.replica(), first).await.expect("watching");
    let told = [next_news(&mut again).await.0, next_news(&mut again).await.0];
    assert_eq!(told, later);
    let mut none = watch(world.replica(), later[1]).await.expect("watching");
    assert_eq!(next(&mut none).await, (later[1].to_owned(), HEARTBEAT));
}

#[tokio::test]
async fn a_watcher_is_told_what_comes_in_and_goes_on_at_any_of_its_cursors() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let mut events = watch(world.replica(), "").await.expect("watching");
        snapshot(&mut events).await;
        world.revoke(&tokens.session_id).await;
        let (first, change) = next_news(&mut events).await;
        assert_eq!(change, Some(ended(&tokens.session_id)));
        let target = ban_target_request::Target::UserId(user.id.clone());
        let made = ban(&world, target).await;
        let ban_id = made.id.clone();
        let (second, change) = next_news(&mut events).await;
        assert_eq!(change, Some(Change::Ban(made)));
        lift(&world, ban_id.clone()).await;
        let (third, change) = next_news(&mut events).await;
        assert_eq!(change, Some(Change::BanLifted(BanLifted { ban_id })));
        drop(events);

        Box::pin(goes_on(&world, &first, [&second, &third])).await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_is_opened_after_all_others_ended_has_tokens_that_count() {
    on_each_engine(async |engine| {
        let provider = Provider::start(json!({})).await;
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, old) = world.arrive("ann").await;
        let mut events = watch(world.replica(), "").await.expect("watching");
        snapshot(&mut events).await;
        revoke_all(&world, &user.id, "").await;
        let (_, told) = next_news(&mut events).await;
        assert_eq!(told, Some(not_before(&world, &user.id, "")));
        let Some(Change::UserNotBefore(told)) = told else {
            unreachable!("just compared")
        };
        let limit = told.not_before.expect("a time").seconds;
        assert_eq!(world.verdict(&old.access_token).await, REVOKED);
        let minted = world.mint(&user.id).await;
        let (_, federated) = world.arrive("ann").await;
        for pair in [&minted, &federated] {
            let claims = world
                .verify(&pair.access_token)
                .await
                .claims
                .expect("active");
            assert_eq!(claims.issue_time.expect("a time").seconds, limit);
            let other = world.another().await.expect("starts");
            let request = VerifyTokenRequest {
                access_token: pair.access_token.clone(),
                audience: String::new(),
            };
            let read = TokenServiceClient::new(other.channel.clone())
                .verify_token(request)
                .await;
            assert!(read.expect("verified").into_inner().active);
            other.stop().await;
        }
        drop(events);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn each_time_that_a_users_sessions_end_is_after_all_tokens_of_these_sessions() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let mut events = watch(world.replica(), "").await.expect("watching");
        snapshot(&mut events).await;
        let mut last = 0;
        // All within the same second.
        for _ in 0..3 {
            let tokens = world.mint(&user.id).await;
            let claims = world.verify(&tokens.access_token).await.claims;
            let issued = claims.expect("active").issue_time.expect("a time").seconds;
            assert!(issued >= last);
            revoke_all(&world, &user.id, "").await;
            let Some(Change::UserNotBefore(told)) = next_news(&mut events).await.1 else {
                panic!("another change")
            };
            last = told.not_before.expect("a time").seconds;
            assert!(issued < last);
        }
        drop(events);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_watcher_is_told_by_one_replica_what_another_commits_and_may_go_on_at_any() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        let mut events = watch(&other, "").await.expect("watching");
        let (_, mut cursor) = snapshot(&mut events).await;
        for _ in 0..3 {
            let session = world.mint(&user.id).await.session_id;
            world.revoke(&session).await;
            let (at, told) = next_news(&mut events).await;
            assert_eq!(told, Some(ended(&session)));
            // The other replica may not have read so far yet.
            let mut here = watch(world.replica(), &at).await.expect("watching");
            assert_eq!(next(&mut here).await, (at.clone(), HEARTBEAT));
            cursor = at;
        }
        drop(events);
        other.stop().await;
        let session = world.mint(&user.id).await.session_id;
        world.revoke(&session).await;
        let mut events = watch(world.replica(), &cursor).await.expect("watching");
        assert_eq!(next_news(&mut events).await.1, Some(ended(&session)));
        drop(events);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn what_this_version_does_not_know_is_told_without_a_change() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut events = watch(world.replica(), "").await.expect("watching");
        let (_, start) = snapshot(&mut events).await;
        engine.change("UPDATE users SET name = 'Ann'").await;
        let (cursor, change) = next_news(&mut events).await;
        assert_eq!(change, None);
        assert!(cursor != start && !cursor.is_empty());
        drop(events);
        world.end().await;
    })
    .await;
}
