//! Every statement is prepared on both engines. A file with statements has to be listed here.

use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, SqlSafeStr as _, Statement as _, TypeInfo as _,
};

use super::connection::Connection;
use super::testing::on_each_engine;
use super::{
    bans, expired, federated_logins, federated_tokens, feed, limits, markers, open, sealed,
    sessions, signing_keys, users, violations,
};

const LISTS: [&[&str]; 19] = [
    bans::STATEMENTS,
    expired::STATEMENTS,
    feed::STATEMENTS,
    feed::commit::STATEMENTS,
    federated_logins::STATEMENTS,
    federated_tokens::STATEMENTS,
    federated_tokens::sealed::STATEMENTS,
    limits::STATEMENTS,
    markers::STATEMENTS,
    open::STATEMENTS,
    sealed::STATEMENTS,
    sessions::STATEMENTS,
    sessions::ending::STATEMENTS,
    sessions::idle::STATEMENTS,
    sessions::lock::STATEMENTS,
    sessions::opening::STATEMENTS,
    signing_keys::STATEMENTS,
    users::STATEMENTS,
    violations::STATEMENTS,
];

/// Every statement of the store.
pub(super) fn all() -> Vec<&'static str> {
    LISTS.concat()
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_both_engines_and_returns_no_numeric() {
    on_each_engine(async |store| {
        let mut lease = store.pools.write.acquire().await.expect("a connection");
        for sql in all() {
            let text = AssertSqlSafe(sql).into_sql_str();
            match lease.begin_work(sql).expect("open") {
                Connection::Sqlite(db) => {
                    if let Err(error) = db.prepare(text).await {
                        panic!("{error}: {sql}");
                    }
                }
                Connection::Postgres(db) => {
                    let prepared = db.prepare(text).await;
                    let prepared = prepared.unwrap_or_else(|error| panic!("{error}: {sql}"));
                    for column in prepared.columns() {
                        let of_type = column.type_info().name();
                        assert_ne!(of_type, "NUMERIC", "{}: {sql}", column.name());
                    }
                }
            }
        }
    })
    .await;
}

#[test]
fn every_file_with_statements_is_listed() {
    let listed: usize = LISTS.iter().map(|list| list.len()).sum();
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut files = vec![sources];
    let mut written = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder");
            files.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else {
            let text = std::fs::read_to_string(&path).expect("a file");
            written += text.matches("\nstatements! {").count();
        }
    }
    assert_eq!(
        written,
        LISTS.len(),
        "a list of statements is not listed here"
    );
    assert!(listed > 40, "{listed} statements");
}
