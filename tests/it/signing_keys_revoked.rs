//! Signing keys that are revoked, here, by another process and by hand.

use std::time::Duration;

use countersign::grpc::proto::watch_revocations_response::Change;
use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::revocations::{next_news, snapshot, watch};
use crate::signing_keys::{keys_at, kid, states, verdict_at};
use crate::support::binary::{Binary, Printed};
use crate::support::calls::fields;
use crate::support::world::Replica;
use crate::support::{Engine, World, on_each_engine, reason};
use crate::verify::{ACTIVE, INVALID};

/// After this time a process knows what another one has changed.
const STALE: Duration = Duration::from_millis(1001);

/// Revokes a key; the one that signs then.
async fn revoke(replica: &Replica, kid: &str) -> Result<String, Status> {
    let kid = kid.to_owned();
    let mut tokens = replica.tokens();
    let revoked = tokens.revoke_signing_key(RevokeSigningKeyRequest { kid });
    Ok(revoked.await?.into_inner().active_key.expect("a key").kid)
}

async fn rotate(replica: &Replica) -> String {
    let mut tokens = replica.tokens();
    let rotated = tokens.rotate_signing_key(RotateSigningKeyRequest {});
    rotated
        .await
        .expect("rotated")
        .into_inner()
        .active_key
        .expect("a key")
        .kid
}

#[tokio::test]
async fn tokens_of_a_revoked_key_are_refused_at_once_here_and_after_a_second_elsewhere() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let both = [world.replica(), &other];
        for replica in both {
            assert_eq!(verdict_at(replica, &tokens.access_token).await, ACTIVE);
        }
        let revoked = kid(&tokens.access_token);
        let active = revoke(world.replica(), &revoked).await.expect("revoked");
        assert_ne!(active, revoked);
        assert_eq!(world.verdict(&tokens.access_token).await, INVALID);
        world.clock.advance(STALE);
        assert_eq!(verdict_at(&other, &tokens.access_token).await, INVALID);

        // The session goes on.
        let next = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the next pair");
        assert_eq!(kid(&next.access_token), active);
        for replica in both {
            assert_eq!(verdict_at(replica, &next.access_token).await, ACTIVE);
        }
        // A process that has never seen it refuses it too.
        let fresh = world.another().await.expect("starts");
        assert_eq!(verdict_at(&fresh, &tokens.access_token).await, INVALID);
        fresh.stop().await;
        let keys = keys_at(&other).await;
        assert_eq!(
            states(&keys),
            [
                SigningKeyState::Next,
                SigningKeyState::Active,
                SigningKeyState::Revoked
            ]
        );
        assert!(keys[2].revoke_time.is_some());
        assert_eq!(revoke(&other, &revoked).await.expect("no error"), active);
        assert_eq!(keys_at(&other).await, keys);
        other.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_key_can_be_revoked_in_each_of_its_states_and_an_unknown_one_is_not_found() {
    use SigningKeyState::{Active, Next, Retired, Revoked};
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let replica = world.replica();
        let keys = keys_at(replica).await;
        assert_eq!(states(&keys), [Next, Active]);
        let (second, first) = (&keys[0].kid, &keys[1].kid);
        assert_eq!(&rotate(replica).await, second);
        // A retired one.
        assert_eq!(&revoke(replica, first).await.expect("revoked"), second);
        let keys = keys_at(replica).await;
        assert_eq!(states(&keys), [Next, Active, Revoked]);
        let next = &keys[0].kid;
        assert_eq!(&revoke(replica, next).await.expect("revoked"), second);
        let keys = keys_at(replica).await;
        assert_eq!(states(&keys), [Next, Active, Revoked, Revoked]);
        let next = &keys[0].kid;
        // The next key takes the place of the active one.
        assert_eq!(&revoke(replica, second).await.expect("revoked"), next);
        let keys = keys_at(replica).await;
        assert_eq!(states(&keys), [Next, Active, Revoked, Revoked, Revoked]);
        assert_eq!(&keys[1].kid, next);
        assert_eq!(rotate(replica).await, keys[0].kid);
        assert_eq!(
            states(&keys_at(replica).await)[..3],
            [Next, Active, Retired]
        );

        let unknown = revoke(world.replica(), &"x".repeat(43))
            .await
            .expect_err("unknown");
        assert_eq!(
            reason(&unknown),
            (Code::NotFound, "SIGNING_KEY_NOT_FOUND".to_owned())
        );
        for bad in ["", "a b", &"x".repeat(65)] {
            let refused = revoke(world.replica(), bad).await.expect_err("no id");
            assert_eq!(fields(&refused), ["kid"]);
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn watchers_are_told_of_revoked_keys_and_of_no_other_change_of_keys() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let told = |kid: &str| {
            let kid = kid.to_owned();
            Change::KeyRevoked(KeyRevoked { kid })
        };
        let mut events = watch(world.replica(), "").await.expect("watching");
        let (before, _) = snapshot(&mut events).await;
        assert_eq!(before, []);
        let first = keys_at(world.replica()).await[1].kid.clone();
        let second = rotate(world.replica()).await;
        revoke(world.replica(), &second).await.expect("revoked");
        assert_eq!(next_news(&mut events).await.1, Some(told(&second)));
        revoke(world.replica(), &first).await.expect("revoked");
        let (cursor, change) = next_news(&mut events).await;
        assert_eq!(change, Some(told(&first)));
        // As the cleaner does after a day.
        engine.execute("DELETE FROM changes").await;
        let mut anew = watch(world.replica(), "").await.expect("watching");
        let (before, at) = snapshot(&mut anew).await;
        assert_eq!((before.len(), at), (2, cursor));
        for kid in [&second, &first] {
            assert!(before.contains(&told(kid)));
        }
        drop((events, anew));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_process_that_cannot_read_the_change_feed_asks_the_store_for_revoked_keys() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        rotate(world.replica()).await;
        let other = world.mint(&user.id).await;
        let by_hand = format!(
            "UPDATE signing_keys SET state = 'revoked', revoke_time = 1 WHERE id = '{}'",
            kid(&tokens.access_token)
        );
        engine
            .execute("ALTER TABLE change_counter RENAME TO away")
            .await;
        engine.execute(&by_hand).await;
        world.clock.advance(STALE);
        assert_eq!(world.verdict(&tokens.access_token).await, INVALID);
        assert_eq!(world.verdict(&other.access_token).await, ACTIVE);
        engine
            .execute("ALTER TABLE away RENAME TO change_counter")
            .await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn in_a_new_epoch_the_keys_are_read_again() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        rotate(world.replica()).await;
        let other = world.mint(&user.id).await;
        for (sql, old, new) in [
            (
                "UPDATE signing_keys SET state = 'revoked' WHERE state = 'retired'",
                INVALID,
                ACTIVE,
            ),
            // As if the store was set back to before the revocation.
            (
                "UPDATE signing_keys SET state = 'retired' WHERE state = 'revoked'",
                ACTIVE,
                ACTIVE,
            ),
        ] {
            engine.execute(sql).await;
            let epoch = hex::encode(countersign::secret::random::<16>());
            let bump = format!("UPDATE markers SET value = '{epoch}' WHERE name = 'epoch'");
            engine.execute(&bump).await;
            world.clock.advance(STALE);
            assert_eq!(world.verdict(&other.access_token).await, new, "{sql}");
            let told = async {
                while world.verdict(&tokens.access_token).await != old {
                    tokio::task::yield_now().await;
                }
            };
            let told = tokio::time::timeout(Duration::from_secs(30), told).await;
            told.expect(sql);
        }
        world.end().await;
    })
    .await;
}

/// Runs `countersign key …` on the database.
fn command(engine: &Engine, arguments: &[&str]) -> Printed {
    let settings = engine.settings();
    let settings = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<_> = settings.collect();
    let arguments = [&["key"], arguments].concat();
    tokio::task::block_in_place(|| Binary::new().run(&arguments, &settings))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_follows_the_command_line() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let first = kid(&tokens.access_token);
        let listed = command(engine, &["list"]);
        assert!(listed.succeeded, "{}", listed.error);
        let next = listed.out.lines().nth(1).expect("a key");
        let second = keys_at(world.replica()).await[0].kid.clone();
        let cells: Vec<_> = next.split_whitespace().collect();
        assert_eq!(cells[..3], [second.as_str(), "EdDSA", "next"]);
        let line = listed.out.lines().nth(2).expect("a key");
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(cells[..3], [first.as_str(), "EdDSA", "active"]);
        assert_eq!(cells[3], cells[4]);

        let rotated = command(engine, &["rotate"]);
        assert!(rotated.succeeded, "{}", rotated.error);
        assert_eq!(rotated.out, format!("{second} signs from now on\n"));
        world.clock.advance(STALE);
        assert_eq!(world.verdict(&tokens.access_token).await, ACTIVE);
        let signed = async { while kid(&world.mint(&user.id).await.access_token) != second {} };
        let signed = tokio::time::timeout(Duration::from_secs(30), signed).await;
        signed.expect("it reads the keys once the change feed tells it");

        let revoked = command(engine, &["revoke", &first]);
        assert!(revoked.succeeded, "{}", revoked.error);
        assert!(
            revoked.out.contains(&first) && revoked.out.contains(&second),
            "{}",
            revoked.out
        );
        world.clock.advance(STALE);
        assert_eq!(world.verdict(&tokens.access_token).await, INVALID);
        for unknown in ["nothing", "-_nothing", "--nothing"] {
            let unknown = command(engine, &["revoke", unknown]);
            assert!(
                !unknown.succeeded && unknown.error.contains("no such signing key"),
                "{}",
                unknown.error
            );
        }
        world.end().await;
    })
    .await;
}
