use std::time::Duration;

use futures_util::future::join_all;

use super::commit::append;
use super::*;
use crate::metrics::Ended;
use crate::model::ban::{Ban, BanTarget};
use crate::store::Expired;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// The changes after the one with this number.
async fn after(store: &Store, number: i64) -> Vec<Change> {
    let numbered = store.list_changes(number, 1000).await.expect("listed");
    for (expected, numbered) in (number + 1..).zip(&numbered) {
        assert_eq!(numbered.number, expected);
    }
    numbered
        .into_iter()
        .map(|numbered| numbered.change)
        .collect()
}

async fn end(store: &Store, session: &SessionId) {
    let ended = store.revoke_session(session, None, Ended::Revoked, NOW);
    ended.await.expect("ended");
}

#[tokio::test]
async fn each_change_is_in_the_feed_once_and_what_changes_nothing_is_not() {
    on_each_engine(async |store| {
        let (user, session) = signed_in(&store, NOW).await;
        let (other, kept) = signed_in(&store, NOW).await;
        let start = store.feed_head().await.expect("read");
        assert_eq!(start.number, 0);
        end(&store, &session).await;
        end(&store, &session).await;
        for _ in 0..2 {
            let ended = store.revoke_user_sessions(&other, None, Ended::Revoked, NOW);
            ended.await.expect("ended");
        }
        let ban = Ban {
            id: BanId::new(NOW),
            target: BanTarget::User(user.clone()),
            reason: "spam".to_owned(),
            violation_type: String::new(),
            caller: "chat".to_owned(),
            create_time: NOW,
            expire_time: None,
        };
        for _ in 0..2 {
            let banned = store.insert_ban(&ban, Some("once"));
            banned.await.expect("banned");
        }
        for _ in 0..2 {
            store.lift_ban(&ban.id, NOW).await.expect("lifted");
        }
        let expected = [
            Change::SessionRevoked(session),
            Change::UserNotBefore {
                user: other,
                not_before: NOW.next_sec(),
                except: None,
            },
            Change::Banned {
                ban: ban.id.clone(),
                user: Some(user.clone()),
            },
            Change::BanLifted {
                ban: ban.id,
                user: Some(user),
            },
        ];
        assert_eq!(after(&store, 0).await, expected);
        assert_eq!(after(&store, 2).await, expected[2..]);
        let head = store.feed_head().await.expect("read");
        assert_eq!((head.number, head.epoch), (4, start.epoch));
        assert!(
            store
                .find_session(&kept, NOW)
                .await
                .expect("read")
                .is_some()
        );
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_neither_a_change_nor_a_gap() {
    on_each_engine(async |store| {
        let (_, session) = signed_in(&store, NOW).await;
        let mut tx = store.begin().await.expect("begun");
        append(&mut tx, &Change::SessionRevoked(session.clone()), NOW)
            .await
            .expect("written");
        drop(tx);
        end(&store, &session).await;
        assert_eq!(after(&store, 0).await, [Change::SessionRevoked(session)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_follows_many_writers_misses_nothing() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 10;
    on_each_engine(async |store| {
        let write = async || {
            for round in 0..ROUNDS {
                let (_, session) = signed_in(&store, NOW).await;
                end(&store, &session).await;
                if round % 3 == 0 {
                    let mut tx = store.begin().await.expect("begun");
                    let change = Change::SessionRevoked(session);
                    append(&mut tx, &change, NOW).await.expect("written");
                }
            }
        };
        let read = async {
            let mut seen = 0;
            while seen < WRITERS * ROUNDS {
                // Fails if there is a gap.
                let number = i64::try_from(seen).expect("small");
                seen += after(&store, number).await.len();
                tokio::task::yield_now().await;
            }
            seen
        };
        let writers = join_all((0..WRITERS).map(|_| write()));
        let (_, seen) = tokio::join!(writers, read);
        assert_eq!(seen, WRITERS * ROUNDS);
    })
    .await;
}

#[tokio::test]
async fn a_row_of_a_newer_version_is_an_unknown_change() {
    on_each_engine(async |store| {
        for (number, row) in [
            (1, "'of_the_future', NULL"),
            (2, "'user_changed', 'nobody'"),
            (3, "'session_revoked', NULL"),
        ] {
            let sql = format!(
                "INSERT INTO changes (number, kind, user_id, create_time) VALUES ({number}, {row}, 0)"
            );
            let sql: &'static str = sql.leak();
            let inserted = writing!(store, sql, |db, sql| query(sql).execute(db).await.map(drop));
            inserted.expect("inserted");
        }
        let unknown = [Change::Unknown, Change::Unknown, Change::Unknown];
        assert_eq!(after(&store, 0).await, unknown);
    })
    .await;
}

#[tokio::test]
async fn old_changes_are_deleted_and_the_numbers_go_on() {
    on_each_engine(async |store| {
        let (_, session) = signed_in(&store, NOW).await;
        end(&store, &session).await;
        let before = |time| store.delete_expired(Expired::Changes, time);
        before(NOW.minus(Duration::from_millis(1)))
            .await
            .expect("none");
        assert_eq!(after(&store, 0).await.len(), 1);
        before(NOW).await.expect("deleted");
        assert_eq!(after(&store, 0).await, []);
        let (_, session) = signed_in(&store, NOW).await;
        end(&store, &session).await;
        assert_eq!(after(&store, 1).await, [Change::SessionRevoked(session)]);
    })
    .await;
}

#[tokio::test]
async fn an_epoch_is_replaced_once() {
    on_each_engine(async |store| {
        let first = store.feed_head().await.expect("read");
        store.replace_epoch(&first.epoch).await.expect("replaced");
        let second = store.feed_head().await.expect("read");
        assert_ne!(first.epoch, second.epoch);
        store.replace_epoch(&first.epoch).await.expect("no other's");
        assert_eq!(store.feed_head().await.expect("read"), second);
    })
    .await;
}
