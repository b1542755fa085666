use std::io;

use futures_util::FutureExt as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{query, query_scalar};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::Timestamp;
use crate::error::{Error, Reason};
use crate::id::UserId;
use crate::metrics::{self, Format, Metrics};
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
        let mut tx = store.begin().await.expect("begun");
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
            let mut tx = store.begin().await.expect("begun");
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

#[tokio::test]
async fn a_wait_and_a_statement_that_are_cancelled_are_measured() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("test.db");
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let metrics = Metrics::new(&Clock::system());
    let counted = metrics.store.pool(metrics::Pool::Writer, 1);
    let pool = Pool::open(Connector::Sqlite(options), 1, counted).await;
    let pool = pool.expect("opens");
    let mut lease = pool.acquire().await.expect("a free place");
    assert!(pool.acquire().now_or_never().is_none(), "it must wait");
    assert!(lease.begin_work("SELECT 1").is_ok());
    drop(lease);
    let shown = metrics.text(Format::Prometheus);
    for line in [
        "countersign_store_connection_wait_seconds_count{pool=\"writer\"} 2",
        "countersign_store_connections_waiting{pool=\"writer\"} 0",
        "countersign_store_statement_duration_seconds_count{statement=\"SELECT 1\"} 1",
        "countersign_store_statement_failures_total{reason=\"cancelled\"} 1",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
}

/// A pool without connections, whose server is the listener.
fn pool_of(listener: &TcpListener) -> (Pool, Metrics) {
    let port = listener.local_addr().expect("an address").port();
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(port)
        .ssl_mode(PgSslMode::Disable);
    let metrics = Metrics::new(&Clock::system());
    let pool = Pool(Arc::new(Inner {
        connector: Connector::Postgres(options),
        size: 3,
        permits: Arc::new(Semaphore::new(3)),
        idle: Mutex::default(),
        breaker: Breaker::default(),
        clock: Clock::system(),
        metrics: metrics.store.pool(metrics::Pool::All, 3),
    }));
    (pool, metrics)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    listener.accept().await.expect("a connection").0
}

/// Whether calls fail at once while another one asks the database.
fn is_open(pool: &Pool) -> bool {
    let passes = [pool.0.breaker.pass(), pool.0.breaker.pass()];
    passes.iter().any(Option::is_none)
}

#[tokio::test]
async fn a_database_that_refuses_another_connection_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (pool, metrics) = pool_of(&listener);
    for was_open in [false, true] {
        if was_open {
            pool.0.breaker.open();
        }
        let refuse = async {
            let mut stream = accepted(&listener).await;
            let fields = b"SFATAL\0VFATAL\0C53300\0Mtoo many connections\0\0";
            let length = u32::try_from(fields.len() + 4).expect("small");
            let message = [b"E", &length.to_be_bytes()[..], fields].concat();
            stream.write_all(&message).await.expect("sent");
            stream
        };
        let (acquired, _stream) = tokio::join!(pool.acquire(), refuse);
        assert!(acquired.is_err_and(|error| error.is_answer()));
        // It is no proof that statements are answered.
        assert_eq!((is_open(&pool), pool.answers()), (was_open, 0));
    }
    let shown = metrics.text(Format::Prometheus);
    let no_wait = "countersign_store_connection_wait_seconds_count{pool=\"all\"} 0";
    assert!(shown.lines().any(|line| line == no_wait), "{shown}");
}

#[tokio::test]
async fn a_connection_that_breaks_says_nothing_of_a_database_that_answers_others() {
    for answers_others in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (pool, _) = pool_of(&listener);
        let close = async {
            let stream = accepted(&listener).await;
            if answers_others {
                pool.0.breaker.close();
            }
            drop(stream);
        };
        let (acquired, ()) = tokio::join!(pool.acquire(), close);
        assert!(acquired.is_err());
        assert_eq!(is_open(&pool), !answers_others);
    }
}

#[tokio::test]
async fn a_statement_without_an_answer_says_nothing_of_a_database_that_answers_others() {
    on_each_engine(async |store| {
        for answers_others in [true, false] {
            let pool = &store.pools.read;
            let mut leases = all(pool).await;
            let mut silent = leases.pop().expect("a connection");
            drop(leases);
            assert!(silent.begin_work("SELECT 1").is_ok());
            if answers_others {
                one(&store).await.expect("answered");
            }
            let late = timeout(Duration::ZERO, std::future::pending()).await;
            let ended = silent.end_work::<()>(late);
            assert!(matches!(ended, Err(StoreError::Silent)));
            assert_eq!(is_open(pool), !answers_others);
            assert_eq!(pool.idle().is_empty(), !answers_others);
        }
        one(&store).await.expect("answered");
        assert!(!is_open(&store.pools.read));
    })
    .await;
}
