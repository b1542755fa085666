//! A PostgreSQL database for the benchmark.

use sqlx::{Connection as _, PgConnection};
use url::Url;

use crate::Result;

const NAME: &str = "countersign_load";
const DROP: &str = "DROP DATABASE IF EXISTS countersign_load WITH (FORCE)";
const CREATE: &str = "CREATE DATABASE countersign_load";

/// An empty database on the server of `url`, and its URL.
pub async fn create(url: &str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(DROP).execute(&mut connection).await?;
    sqlx::raw_sql(CREATE).execute(&mut connection).await?;
    let mut own = Url::parse(url)?;
    own.set_path(NAME);
    Ok(own.into())
}

/// Deletes it again.
pub async fn drop(url: &str) -> Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(DROP).execute(&mut connection).await?;
    Ok(())
}

/// The engine, and the settings that decide how much a commit costs.
pub async fn describe(url: &str) -> Result<String> {
    let mut connection = PgConnection::connect(url).await?;
    let mut settings = Vec::new();
    for sql in [
        "SHOW server_version",
        "SHOW fsync",
        "SHOW synchronous_commit",
    ] {
        settings.push(
            sqlx::query_scalar::<_, String>(sql)
                .fetch_one(&mut connection)
                .await?,
        );
    }
    Ok(format!(
        "PostgreSQL {} (fsync={}, synchronous_commit={})",
        settings[0], settings[1], settings[2]
    ))
}

/// The version of SQLite that is built in.
pub async fn sqlite_version() -> Result<String> {
    let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await?;
    Ok(sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await?)
}
