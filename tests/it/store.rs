//! The statements of the store on both engines.

use countersign::config::Database;
use countersign::secret::{Keyring, RootKey};
use countersign::store::Store;
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, PgConnection, SqlSafeStr as _,
    SqliteConnection, Statement as _, TypeInfo as _,
};

use crate::support::{Engine, on_each_engine};

async fn open(engine: &Engine) -> Store {
    let key = RootKey::new("test", [1; 32]).expect("a good id");
    let database = match engine {
        Engine::Sqlite { directory } => Database::Sqlite(directory.path().join("test.db")),
        Engine::Postgres { .. } => Database::Postgres(engine.url().into()),
    };
    Store::open(&database, Some(Keyring::new(key, Vec::new())))
        .await
        .expect("opens")
        .0
}

#[tokio::test]
async fn every_statement_can_be_prepared_on_both_engines_and_returns_no_numeric() {
    on_each_engine(async |engine| {
        open(engine).await.close().await;
        let statements = Store::statements();
        assert!(statements.len() > 40, "the list has {}", statements.len());
        for sql in statements {
            let text = AssertSqlSafe(sql).into_sql_str();
            match engine {
                Engine::Sqlite { .. } => {
                    let mut db = SqliteConnection::connect(&engine.url())
                        .await
                        .expect("opens");
                    if let Err(error) = db.prepare(text).await {
                        panic!("{error}: {sql}");
                    }
                }
                Engine::Postgres { .. } => {
                    let mut db = PgConnection::connect(&engine.url()).await.expect("opens");
                    let prepared = db
                        .prepare(text)
                        .await
                        .unwrap_or_else(|error| panic!("{error}: {sql}"));
                    for column in prepared.columns() {
                        assert_ne!(
                            column.type_info().name(),
                            "NUMERIC",
                            "{}: {sql}",
                            column.name()
                        );
                    }
                }
            }
        }
    })
    .await;
}
