//! No statement may scan a table that grows: each engine is asked how it would run each statement.

use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection, query, query_scalar, raw_sql};

use super::Store;
use super::connection::Connection;
use super::filling;
use super::statements::all;
use super::testing::on_each_engine;

/// Tables with a handful of rows: the keys, the markers, the counter of changes, and the lengths of banned prefixes (129 at
/// most). And an index of the bans that a start still has to change.
const SMALL: [&str; 7] = [
    "canaries",
    "markers",
    "change_counter",
    "signing_keys",
    "ban_prefix_lengths",
    "lengths",
    "bans_without_prefix",
];
/// Rows of a subquery, which are as many as its own scans found.
const SUBQUERIES: [&str; 2] = ["found", "(subquery"];
/// Plans that PostgreSQL prefers only while a table is small are switched off, so that a statement
/// that cannot be run by index is the only one left to scan.
const AS_IF_LARGE: &str =
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";
/// How many rows each table has.
const ROWS: i64 = 2_000;

#[tokio::test]
async fn no_statement_scans_a_table_that_grows() {
    on_each_engine(async |store| {
        filling::fill(&store, ROWS).await;
        expect_no_scan(&store, AS_IF_LARGE).await;
    })
    .await;
}

/// Fails if a statement would scan a table that grows. `settings` are statements for PostgreSQL.
pub(super) async fn expect_no_scan(store: &Store, settings: &str) {
    let mut lease = store.pools.read.acquire().await.expect("a connection");
    for sql in all() {
        let plan = match lease.begin_work(sql).expect("open") {
            Connection::Sqlite(db) => on_sqlite(db, sql).await,
            Connection::Postgres(db) => on_postgres(db, sql, settings).await,
        };
        let scans = scans(&plan);
        assert!(scans.is_empty(), "{scans:?}\n{sql}\n{}", plan.join("\n"));
    }
}

#[test]
fn scans_are_recognised() {
    for scanning in [
        &["SCAN bans"][..],
        &["|--SCAN b USING INDEX bans_by_age"],
        &["  ->  Seq Scan on bans  (cost=0.00..1.00)"],
        &[
            "Index Scan using bans_by_age on bans",
            "  Filter: (lift_time IS NULL)",
        ],
    ] {
        let plan: Vec<_> = scanning.iter().map(ToString::to_string).collect();
        assert_eq!(scans(&plan).len(), 1, "{scanning:?}");
    }
    for searching in [
        &["SEARCH bans USING INDEX bans_by_prefix (prefix=?)"][..],
        &["SCAN lengths"],
        &["SCAN CONSTANT ROW"],
        &[
            "Index Scan using bans_by_age on bans",
            "  Index Cond: (id = $1)",
        ],
        &["Seq Scan on ban_prefix_lengths lengths"],
    ] {
        let plan: Vec<_> = searching.iter().map(ToString::to_string).collect();
        assert_eq!(scans(&plan), [""; 0], "{searching:?}");
    }
}

/// The steps of a plan that read the whole of a table that grows.
fn scans(plan: &[String]) -> Vec<&str> {
    let next = plan.iter().skip(1).map(String::as_str).chain([""]);
    plan.iter()
        .map(String::as_str)
        .zip(next)
        .filter(|(step, next)| reads_all(step, next))
        .map(|(step, _)| step)
        .collect()
}

fn reads_all(step: &str, next: &str) -> bool {
    let of_sqlite = step.split_once("SCAN ").map(|(_, table)| table);
    let of_postgres = step.split_once("Seq Scan on ").map(|(_, table)| table);
    let table = of_sqlite.or(of_postgres).unwrap_or_default();
    let name = table.split(' ').next().unwrap_or_default();
    let known = table == "CONSTANT ROW"
        || SMALL.contains(&name)
        || SUBQUERIES.iter().any(|start| name.starts_with(start));
    // PostgreSQL may also read an index from end to end.
    let whole_index = (step.contains("Index Scan") || step.contains("Index Only Scan"))
        && !SMALL.iter().any(|small| step.contains(small))
        && !next.contains("Index Cond");
    (!table.is_empty() && !known) || whole_index
}

async fn on_sqlite(connection: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = query(explain).fetch_all(connection).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}: {sql}"));
    let detail = |row| sqlx::Row::get::<String, _>(row, "detail");
    rows.iter().map(detail).collect()
}

/// The plan for parameters of which nothing is known, as a prepared statement gets it after a few
/// runs.
async fn on_postgres(connection: &mut PgConnection, sql: &str, settings: &str) -> Vec<String> {
    let parameters = (1..200)
        .take_while(|n| sql.contains(&format!("${n}")))
        .count();
    let nulls = vec!["NULL"; parameters].join(", ");
    let arguments = if parameters == 0 {
        String::new()
    } else {
        format!("({nulls})")
    };
    let prepare = format!("{settings}; DEALLOCATE ALL; PREPARE asked AS {sql}");
    raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE asked{arguments}"));
    let lines = query_scalar(explain).persistent(false);
    let lines = lines.fetch_all(connection).await;
    lines.unwrap_or_else(|error| panic!("{error}: {sql}"))
}
