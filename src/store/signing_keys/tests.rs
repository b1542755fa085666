use futures_util::future::join_all;

use super::*;
use crate::model::algorithm::Algorithm;
use crate::store::testing::on_each_engine;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn key(id: &str, state: SigningKeyState) -> SealedSigningKey {
    SealedSigningKey {
        id: id.to_owned(),
        algorithm: Algorithm::EdDsa,
        public_key: vec![1],
        private_key: vec![2],
        state,
        create_time: NOW,
        activate_time: (state == SigningKeyState::Active).then_some(NOW),
        retire_time: None,
        revoke_time: None,
    }
}

fn active(id: &str) -> SealedSigningKey {
    key(id, SigningKeyState::Active)
}

async fn begin(store: &Store) {
    let first = active("k0");
    let stored = store.insert_first_signing_key(&first).await;
    stored.expect("stored");
}

/// The keys that are in a state.
async fn in_state(store: &Store, state: SigningKeyState) -> Vec<String> {
    let keys = store.list_signing_keys().await.expect("listed");
    let keys = keys.into_iter().filter(|key| key.state == state);
    keys.map(|key| key.id).collect()
}

async fn changes(store: &Store) -> Vec<Change> {
    let numbered = store.list_changes(0, 100).await.expect("listed");
    numbered.into_iter().map(|one| one.change).collect()
}

#[tokio::test]
async fn of_those_who_replace_the_active_key_at_once_one_succeeds() {
    on_each_engine(async |store| {
        begin(&store).await;
        for round in 0..5 {
            let before = format!("k{round}");
            let new = active(&format!("k{}", round + 1));
            let fresh: Vec<_> = (0..8).map(|n| active(&format!("x{round}-{n}"))).collect();
            let attempts = fresh.iter().map(|other| {
                let successor =
                    Successor::NextOr(if other.id.ends_with('7') { &new } else { other });
                store.replace_signing_key(&before, successor, NOW)
            });
            let done = join_all(attempts).await.into_iter();
            let done: Vec<_> = done.map(|done| done.expect("answered")).collect();
            assert_eq!(done.iter().filter(|done| **done).count(), 1);
            let signing = in_state(&store, SigningKeyState::Active).await;
            assert_eq!(signing.len(), 1);
            // The next round begins with a known key.
            if signing[0] != new.id {
                let successor = Successor::NextOr(&new);
                let replaced = store.replace_signing_key(&signing[0], successor, NOW);
                assert!(replaced.await.expect("answered"));
            }
        }
        assert!(
            changes(&store)
                .await
                .iter()
                .all(|change| *change == Change::KeysChanged)
        );
    })
    .await;
}

#[tokio::test]
async fn a_revocation_and_rotations_at_once_leave_one_active_key() {
    on_each_engine(async |store| {
        begin(&store).await;
        let next = key("next", SigningKeyState::Next);
        assert!(
            store
                .insert_next_signing_key(&next)
                .await
                .expect("answered")
        );
        assert!(
            !store
                .insert_next_signing_key(&key("late", SigningKeyState::Next))
                .await
                .expect("answered")
        );
        let (new, other) = (active("new"), active("other"));
        let (revoked, promoted, rotated) = futures_util::join!(
            store.revoke_signing_key("k0", &new, NOW),
            store.replace_signing_key("k0", Successor::Next("next"), NOW),
            store.replace_signing_key("k0", Successor::NextOr(&other), NOW),
        );
        assert!(matches!(revoked.expect("answered"), KeyRevocation::Now(_)));
        let replaced = [promoted.expect("answered"), rotated.expect("answered")];
        assert!(replaced.iter().filter(|done| **done).count() <= 1);
        assert_eq!(in_state(&store, SigningKeyState::Active).await, ["next"]);
        assert_eq!(in_state(&store, SigningKeyState::Revoked).await, ["k0"]);
        let told = Change::KeyRevoked("k0".to_owned());
        assert_eq!(
            changes(&store)
                .await
                .iter()
                .filter(|change| **change == told)
                .count(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn a_successor_that_is_not_there_leaves_the_active_key() {
    on_each_engine(async |store| {
        begin(&store).await;
        let replaced = store.replace_signing_key("k0", Successor::Next("gone"), NOW);
        assert!(!replaced.await.expect("answered"));
        assert_eq!(in_state(&store, SigningKeyState::Active).await, ["k0"]);
        assert_eq!(changes(&store).await, []);
    })
    .await;
}
