//! `countersign key reencrypt`: everything in the store is sealed anew with another root key.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::secret::{Keyring, Purpose, RootKey};
use serde_json::json;
use tonic::Code;

use crate::support::binary::{Binary, Printed};
use crate::support::browser;
use crate::support::calls::{authorization_url, complete_request};
use crate::support::provider::Provider;
use crate::support::{Engine, World, on_each_engine, reason};

const OLD_BYTES: [u8; 32] = *b"the old root key of these tests.";
const NEW_BYTES: [u8; 32] = *b"the new root key of these tests!";
const RING: &str = "COUNTERSIGN_ENCRYPTION_KEYS";

/// The columns of bytes that are sealed.
const SEALED: [&str; 7] = [
    "federated_logins.secrets",
    "federated_tokens.access_token",
    "federated_tokens.claims",
    "federated_tokens.id_token",
    "federated_tokens.refresh_token",
    "federated_tokens.state_seal",
    "signing_keys.private_key",
];
/// And those that are not, or that each key seals for itself.
const NOT_SEALED: [&str; 5] = [
    "canaries.sealed",
    "federated_logins.binding_hash",
    "federated_logins.state_hash",
    "sessions.salt",
    "signing_keys.public_key",
];

fn old() -> String {
    format!("old:{}", STANDARD.encode(OLD_BYTES))
}

fn new() -> String {
    format!("new:{}", STANDARD.encode(NEW_BYTES))
}

/// The new key in front.
fn both() -> String {
    format!("{},{}", new(), old())
}

fn ring_of(id: &str, bytes: [u8; 32]) -> Keyring {
    Keyring::new(RootKey::new(id, bytes).expect("a good id"), Vec::new())
}

fn literal(engine: &Engine, bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    match engine {
        Engine::Sqlite { .. } => format!("X'{hex}'"),
        Engine::Postgres { .. } => format!("'\\x{hex}'::bytea"),
    }
}

/// How many values of a column there are, and how many of them a key sealed.
async fn counted(engine: &Engine, column: &str, id: &str) -> (i64, i64) {
    let (table, column) = column.split_once('.').expect("a table and a column");
    let start = [&[1, u8::try_from(id.len()).expect("short")], id.as_bytes()].concat();
    let (length, start) = (start.len(), literal(engine, &start));
    let all = format!("SELECT COUNT({column}) FROM {table}");
    let under =
        format!("SELECT COUNT(*) FROM {table} WHERE substr({column}, 1, {length}) = {start}");
    (engine.number(&all).await, engine.number(&under).await)
}

async fn all_are_under(engine: &Engine, id: &str) {
    for column in SEALED {
        let (all, under) = counted(engine, column, id).await;
        assert!(all > 0 && all == under, "{column}: {under} of {all}");
    }
}

fn reencrypt(engine: &Engine, ring: &str) -> Printed {
    let url = engine.url();
    let settings = [("DATABASE_URL", url.as_str()), (RING, ring)];
    tokio::task::block_in_place(|| Binary::new().run(&["key", "reencrypt"], &settings))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_bytes_is_known_to_be_sealed_or_not() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let listed = engine.text(match engine {
            Engine::Sqlite { .. } => "SELECT group_concat(m.name || '.' || c.name) FROM sqlite_master m JOIN pragma_table_info(m.name) c
                WHERE m.type = 'table' AND c.type = 'BYTEA'",
            Engine::Postgres { .. } => "SELECT string_agg(table_name || '.' || column_name, ',') FROM information_schema.columns
                WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name <> '_sqlx_migrations'",
        });
        let listed = listed.await;
        let known: BTreeSet<_> = SEALED.into_iter().chain(NOT_SEALED).collect();
        assert_eq!(listed.split(',').collect::<BTreeSet<_>>(), known);
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_sealed_anew_beside_a_service_and_the_old_key_can_go() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let mut world = World::trusting(engine, &provider.issuer, &[(RING, &old())]).await;
        let (_, ann) = world.arrive("ann").await;
        let (_, bob) = world.signed_in("bob@example.com").await;
        let begun = world.begin_federated_login().await;
        all_are_under(engine, "old").await;
        world.set(RING, &both());
        world.restart().await;

        let printed = reencrypt(engine, &both());
        assert!(printed.succeeded, "{}", printed.error);
        let said = "sealed anew with the key \"new\": 2 signing keys, 1 sign-ins in progress, 1 provider tokens\n\
            keep the other keys until 20";
        assert!(printed.out.contains(said), "{}", printed.out);
        all_are_under(engine, "new").await;

        // What was begun before goes on after it, and a session that is refreshed has a token of the
        // new key.
        let callback = browser::sign_in(authorization_url(&begun), "carol").await;
        let request = complete_request(&begun, &callback);
        let completed = world.auth().complete_federated_login(request).await;
        completed.expect("signed in");
        let ann = world.refresh(&ann.refresh_token).await.expect("refreshed");

        world.stop().await;
        world.set(RING, &new());
        world.resume().await;
        assert!(world.verify(&ann.access_token).await.active);
        assert!(world.verify(&bob.access_token).await.active);
        world.bearer(&ann.access_token).await.expect("resolved");
        world.refresh(&ann.refresh_token).await.expect("refreshed");
        let refused = world.refresh(&bob.refresh_token).await.expect_err("of the old key");
        assert_eq!(reason(&refused), (Code::Unauthenticated, "REFRESH_TOKEN_INVALID".to_owned()));
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_under_way_keeps_its_outcome() {
    let provider = Provider::start(json!({ "access_token_ttl": 100 })).await;
    on_each_engine(async |engine| {
        provider.reset().await;
        let mut world = World::trusting(engine, &provider.issuer, &[(RING, &old())]).await;
        let (_, ann) = world.arrive("ann").await;
        world.begin_federated_login().await;
        world.set(RING, &both());
        world.restart().await;
        world.clock.advance(Duration::from_secs(80));
        let fault =
            json!({ "grant_type": "refresh_token", "status": 503, "delay_ms": 2_000, "times": 1 });
        provider.fail(fault).await;
        let (renewed, printed) = tokio::join!(world.bearer(&ann.access_token), async {
            let begun = "SELECT COUNT(*) FROM federated_tokens WHERE state = 'REFRESHING'";
            while engine.number(begun).await == 0 {}
            reencrypt(engine, &both())
        });
        assert!(renewed.is_err(), "the provider was not to answer");
        assert!(printed.succeeded, "{}", printed.error);
        assert_eq!(
            engine.text("SELECT state FROM federated_tokens").await,
            "BACKOFF"
        );
        all_are_under(engine, "new").await;
        world.clock.advance(Duration::from_mins(5));
        world.bearer(&ann.access_token).await.expect("renewed");
        world.end().await;
    })
    .await;
}

/// Inserts so many sign-ins that the old key sealed.
async fn begin_logins(engine: &Engine, count: u64) {
    let ring = ring_of("old", OLD_BYTES);
    let rows: Vec<_> = (0..count)
        .map(|n| {
            let hash = countersign::secret::sha256(&n.to_be_bytes());
            let context = ["federated_logins", &hex::encode(hash)];
            let sealed = ring.seal(Purpose::LoginFlow, &context, b"nonce\nverifier");
            let (hash, sealed) = (literal(engine, &hash), literal(engine, &sealed));
            format!("({hash}, {hash}, 'openid', 'chat', {sealed}, '', 4102444800000)")
        })
        .collect();
    for rows in rows.chunks(500) {
        let columns = "state_hash, binding_hash, provider, caller, secrets, return_to, expire_time";
        let rows = rows.join(", ");
        engine
            .execute(&format!(
                "INSERT INTO federated_logins ({columns}) VALUES {rows}"
            ))
            .await;
    }
}

fn migrated(engine: &Engine) {
    let (url, ring) = (engine.url(), old());
    let settings = [("DATABASE_URL", url.as_str()), (RING, &ring)];
    let printed = Binary::new().run(&["migrate"], &settings);
    assert!(printed.succeeded, "{}", printed.error);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_it_goes_on_where_it_was() {
    const ROWS: u64 = 5_000;
    on_each_engine(async |engine| {
        migrated(engine);
        begin_logins(engine, ROWS).await;
        let (url, ring) = (engine.url(), both());
        let settings = [("DATABASE_URL", url.as_str()), (RING, &ring)];
        let binary = Binary::new();
        let mut child = binary.begin(&["key", "reencrypt"], &settings);
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let first = lines.next().expect("a line").expect("text");
        assert_eq!(
            first,
            "sign-ins in progress: 1000 rows so far, 1000 sealed anew"
        );
        child.kill().expect("killed");
        child.wait().expect("ended");

        let column = "federated_logins.secrets";
        let (all, done) = counted(engine, column, "new").await;
        assert!(
            all == 5_000 && (1_000..all).contains(&done),
            "{done} of {all}"
        );
        let printed = reencrypt(engine, &ring);
        assert!(printed.succeeded, "{}", printed.error);
        let rest = format!("0 signing keys, {} sign-ins in progress", all - done);
        assert!(printed.out.contains(&rest), "{}", printed.out);
        assert!(
            printed
                .out
                .ends_with("no live session needs the other keys\n"),
            "{}",
            printed.out
        );
        assert_eq!(counted(engine, column, "new").await, (all, all));
        let again = reencrypt(engine, &ring);
        assert!(
            again.out.contains("0 sign-ins in progress"),
            "{}",
            again.out
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_is_named_and_stays() {
    on_each_engine(async |engine| {
        migrated(engine);
        begin_logins(engine, 250).await;
        let hash = countersign::secret::sha256(&7_u64.to_be_bytes());
        let context = ["federated_logins", &hex::encode(hash)];
        let lost = ring_of("lost", NEW_BYTES).seal(Purpose::LoginFlow, &context, b"x");
        let (at, lost) = (literal(engine, &hash), literal(engine, &lost));
        let set = format!("UPDATE federated_logins SET secrets = {lost} WHERE state_hash = {at}");
        engine.execute(&set).await;

        let printed = reencrypt(engine, &both());
        assert!(!printed.succeeded);
        let row = format!(
            "row {} of federated_logins cannot be opened: it was sealed with the key \"lost\", which is not configured",
            hex::encode(hash)
        );
        for said in [&*row, "1 rows cannot be opened", "249 sign-ins in progress"] {
            assert!(printed.error.contains(said), "{}", printed.error);
        }
        let column = "federated_logins.secrets";
        assert_eq!(counted(engine, column, "new").await, (250, 249));
        assert_eq!(counted(engine, column, "lost").await, (250, 1));
    })
    .await;
}
