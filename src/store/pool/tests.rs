use std::io;

use futures_util::FutureExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{query, query_scalar};
use tokio::net::TcpListener;

use super::*;
use crate::clock::Timestamp;
use crate::error::{Error, Reason};
use crate::id::UserId;
use crate::metrics::{self, Metrics};
use crate::model::account::{AdminClaim, LOCAL, Registered, User};
use crate::store::Store;
use crate::store::backend::{in_tx, reading, writing};
use crate::store::testing::{on_each_engine, profile};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

async fn add_user(store: &Store) -> Result<(), StoreError> {
    let user = User::new(UserId::new(NOW), LOCAL.to_owned(), profile(), NOW);
    let made = store.insert_local_user(user, "hash", AdminClaim::None);
    made.await
        .map(|made| assert!(matches!(made, Registered::Made(_))))
}

async fn one(store: &Store) -> Result<i64, StoreError> {
    reading!(store, "SELECT CAST(1 AS BIGINT)", |db, sql| query_scalar(
        sql
    )
    .fetch_one(db)
    .await)
}

/// All connections of a pool at once.
async fn all(pool: &Pool) -> Vec<Lease> {
    let mut leases = Vec::new();
    for _ in 0..pool.0.size {
        leases.push(pool.acquire().await.expect("a free place"));
    }
    leases
}

#[tokio::test]
async fn work_that_was_cancelled_takes_no_place_for_ever() {
    on_each_engine(async |store| {
        for _ in 0..100 {
            // Polled once, so that a statement may be under way.
            let _ = one(&store).now_or_never();
            let _ = add_user(&store).now_or_never();
        }
        drop(all(&store.pools.read).await);
        drop(all(&store.pools.write).await);
        assert_eq!(one(&store).await.expect("works"), 1);
        add_user(&store).await.expect("works");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    on_each_engine(async |store| {
        let mut tx = store.pools.begin().await.expect("begun");
        in_tx!(tx, "DELETE FROM markers", |db, sql| query(sql)
            .execute(db)
            .await
            .map(drop))
        .expect("deleted");
        add_user(&store).now_or_never();
        drop(tx);
        add_user(&store).await.expect("nobody holds the lock");
        let markers: Result<i64, _> = reading!(store, "SELECT COUNT(*) FROM markers", |db, sql| {
            query_scalar(sql).fetch_one(db).await
        });
        assert!(markers.expect("counted") > 0);
    })
    .await;
}

#[tokio::test]
async fn a_connection_whose_transaction_cannot_be_ended_is_not_used_again() {
    on_each_engine(async |store| {
        for _ in 0..30 {
            let mut tx = store.pools.begin().await.expect("begun");
            // As SQLite does by itself if the disk is full.
            in_tx!(tx, "ROLLBACK", |db, sql| query(sql)
                .execute(db)
                .await
                .map(drop))
            .expect("rolled back");
            let committed = tx.commit().await;
            // PostgreSQL only warns.
            assert_eq!(committed.is_err(), store.postgres().is_none());
        }
        for _ in 0..30 {
            add_user(&store).await.expect("works");
        }
    })
    .await;
}

#[tokio::test]
async fn after_the_disk_was_full_writing_works_again_once_there_is_room() {
    on_each_engine(async |store| {
        if store.postgres().is_some() {
            return;
        }
        // The limit is the connection's, and goes with it.
        let pages: Result<i64, _> =
            writing!(store, "PRAGMA max_page_count = 1", |db, sql| query_scalar(
                sql
            )
            .fetch_one(db)
            .await);
        pages.expect("the file may not grow");
        let mut added = 0;
        let full = loop {
            match add_user(&store).await {
                Ok(()) => added += 1,
                Err(error) => break error,
            }
            assert!(added < 10_000, "the file grows");
        };
        assert_eq!(Error::from(full).reason(), Reason::StoreUnavailable);
        for _ in 0..100 {
            add_user(&store).await.expect("there is room");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_not_tried_again_within_the_call() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let options = PgConnectOptions::new().host("127.0.0.1").port(port);
    let metrics = Metrics::new(&Clock::system());
    let counted = metrics.store.pool(metrics::Pool::All, 1);
    let refused = Pool::open(Connector::Postgres(options), 1, counted).await;
    let Err(StoreError::Database(sqlx::Error::Io(error))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
