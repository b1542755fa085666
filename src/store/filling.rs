//! Fills the tables with many rows, to see how the statements do with them.

use sqlx::{AssertSqlSafe, raw_sql};

use super::Store;
use super::connection::Connection;
use crate::clock::Timestamp;

/// When the first row was made; the others follow a millisecond after each other.
const START: i64 = 1_800_000_000_000;

/// A prime: its multiples modulo a power of ten are in no order, and all differ.
const FACTOR: i64 = 7_368_787;

/// `numbers` has a row for each: its number `n`, an `id` of 24 and a `long` one of 32 digits in no order,
/// when it was made (`at`), and when it ends (`until`). A tenth has ended.
const FILLING: [&str; 12] = [
    "INSERT INTO users (id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time)
        SELECT id, 'user' || n || '@example.com', TRUE, 'Ann', 'ann', 'USER', 'local', '', at, at FROM numbers",
    "INSERT INTO passwords (user_id, hash, update_time) SELECT id, '$argon2id$', at FROM numbers",
    "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time)
        SELECT long, id, 'openid', 'https://idp.example', id, at FROM numbers",
    "INSERT INTO sessions (id, user_id, caller, provider, amr, salt, generation, ip_address, user_agent, device_name, request_id, auth_time, create_time, refresh_time, expire_time)
        SELECT long, id, 'chat', 'openid', 'pwd', CAST(id AS BYTEA), 1, '192.0.2.1', 'Mozilla/5.0', 'phone', NULL, at, at, at, until FROM numbers",
    "INSERT INTO federated_logins (state_hash, binding_hash, provider, caller, secrets, return_to, expire_time)
        SELECT CAST(id AS BYTEA), CAST(id AS BYTEA), 'openid', 'chat', CAST(id AS BYTEA), '', until FROM numbers",
    "INSERT INTO federated_tokens (session_id, identity_id, provider, access_token, access_expire_time, claims, scopes, state, version, update_time, session_expire_time)
        SELECT long, long, 'openid', CAST(id AS BYTEA), until, CAST(id AS BYTEA), '', 'ACTIVE', 1, at, until FROM numbers",
    "INSERT INTO limits (name, target, attempts, reset_time) SELECT 'login', id, 1, until FROM numbers",
    "INSERT INTO scores (type, target_kind, target, score, expire_time) SELECT 'logins', 'address', id, 1, until FROM numbers",
    "INSERT INTO violations (id, caller, request_id, type, user_id, ip_address, added, previous_score, score, create_time)
        SELECT long, 'chat', id, 'logins', id, '192.0.2.1', 1, 0, 1, until FROM numbers",
    "INSERT INTO changes (number, kind, user_id, create_time) SELECT n, 'user_changed', id, until FROM numbers",
    "UPDATE change_counter SET number = (SELECT MAX(n) FROM numbers)",
    // Lengths that operators use, beside the single addresses' that most bans have.
    "INSERT INTO ban_prefix_lengths (length) VALUES (17), (25), (33), (49), (65)",
];

/// Adds as many rows to each table, and returns the time at which a tenth of them has ended.
pub(super) async fn fill(store: &Store, rows: i64) -> Timestamp {
    let now = START + rows;
    let connection = store.pools.write.connector().connect().await;
    let mut connection = connection.expect("connects");
    // The service's limits and settings are not for filling. SQLite keeps no statistics unless it is
    // told to; PostgreSQL's autovacuum collects them. What was filled is on the disk in the end, or the
    // first statement that syncs would wait for it.
    let (begin, end) = match &connection {
        Connection::Sqlite(_) => (
            "PRAGMA cache_size = -500000; PRAGMA synchronous = OFF",
            "PRAGMA synchronous = FULL; PRAGMA wal_checkpoint(TRUNCATE)",
        ),
        Connection::Postgres(_) => ("SET statement_timeout = 0", "ANALYZE; CHECKPOINT"),
    };
    let statements = [begin.to_owned(), numbers(rows, now)]
        .into_iter()
        .chain(FILLING.map(str::to_owned))
        .chain([bans(), "DROP TABLE numbers".to_owned(), end.to_owned()]);
    for sql in statements {
        run(&mut connection, sql).await;
    }
    Timestamp::from_millis(now)
}

fn numbers(rows: i64, now: i64) -> String {
    format!(
        "CREATE TABLE numbers AS
            WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows}),
            mixed (n, id) AS (SELECT n, CAST(100000000000 + CAST(n AS BIGINT) * {FACTOR} % 100000000000 AS TEXT) FROM counted)
            SELECT n, id || id AS id, id || id || substr(id, 5) AS long, {START} + n AS at, CASE WHEN n % 10 = 0 THEN {START} + n ELSE {now} + n END AS until FROM mixed"
    )
}

/// A row for each number: every other one a ban of a user, the rest bans of addresses in
/// 10.0.0.0/12. A tenth was lifted at once.
fn bans() -> String {
    let bit = |place: u32| format!("CAST(n / {} % 2 AS TEXT)", 1 << place);
    let bits: Vec<_> = (0..20).rev().map(bit).collect();
    let bits = bits.join(" || ");
    format!(
        "INSERT INTO bans (id, violation_id, user_id, network, prefix, reason, violation_type, caller, create_time, expire_time, lift_time)
            SELECT long, long, CASE WHEN n % 2 = 0 THEN id END,
                CASE WHEN n % 2 = 1 THEN '10.' || CAST(n / 65536 AS TEXT) || '.' || CAST(n / 256 % 256 AS TEXT) || '.' || CAST(n % 256 AS TEXT) END,
                CASE WHEN n % 2 = 1 THEN '4000010100000' || {bits} END,
                'logins', 'logins', 'chat', at, CASE WHEN n % 10 < 2 THEN until END, CASE WHEN n % 10 = 4 THEN at END FROM numbers"
    )
}

/// The id of the user of the row `n`.
pub(super) fn id(n: i64) -> String {
    let half = 100_000_000_000 + n * FACTOR % 100_000_000_000;
    format!("{half}{half}")
}

async fn run(connection: &mut Connection, sql: String) {
    let text = raw_sql(AssertSqlSafe(sql.clone()));
    let run = match connection {
        Connection::Sqlite(db) => text.execute(db).await.map(drop),
        Connection::Postgres(db) => text.execute(db).await.map(drop),
    };
    run.unwrap_or_else(|error| panic!("{error}: {sql}"));
}
