//! The plain statement: a session's guarded UPDATE, which commits by itself as in the service. The
//! connections are set up as the service's and as many, but in sqlx's own pools.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgPool, SqlitePool};

use crate::Result;
use crate::calls::WORKERS;
use crate::closed_loop::{Figures, Worker, run};
use crate::process::{self, Process};

/// The device name of the sessions that the plain statement updates.
pub const DEVICE: &str = "raw";
const SESSIONS: &str = "SELECT id, generation FROM sessions WHERE device_name = $1";
/// As in `store/sessions/mod.rs`.
const ROTATE: &str =
    "UPDATE sessions SET generation = generation + 1, refresh_time = $3, ip_address = $4, user_agent = $5, device_name = $6
    WHERE id = $1 AND generation = $2 AND revoke_time IS NULL AND expire_time > $3";
const NOW: i64 = 1_000_000;

/// A process that runs the statement.
pub struct Raw(Process);

impl Raw {
    /// Starts it on a database that has the sessions.
    pub fn start(url: &str) -> Result<Self> {
        let process = Process::start(
            Process::role("raw")?
                .arg(url)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        Ok(Self(process))
    }

    /// Runs the statement for a while.
    pub fn round(&mut self, time: Duration) -> Result<Figures> {
        let child = self.0.child();
        writeln!(
            child.stdin.as_mut().ok_or("no stdin")?,
            "{}",
            time.as_millis()
        )?;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().ok_or("no stdout")?).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// The role of the child process: it reads lines with a number of milliseconds and answers each
/// with a line of figures.
pub fn serve(url: &str, runtime: &tokio::runtime::Runtime) -> Result<()> {
    let mut workers = runtime.block_on(workers(url))?;
    for line in std::io::stdin().lines() {
        let time = Duration::from_millis(line?.parse()?);
        let (figures, idle) =
            runtime.block_on(run(workers, time, || process::cpu(std::process::id())))?;
        workers = idle;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&figures)?)?;
    }
    Ok(())
}

#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Updates sessions in turn.
struct Rotation {
    pool: Pool,
    /// Each with its generation.
    sessions: VecDeque<(String, i64)>,
}

async fn workers(url: &str) -> Result<Vec<Rotation>> {
    let pool = match url.strip_prefix("sqlite:") {
        Some(path) => Pool::Sqlite(sqlite(path).await?),
        None => Pool::Postgres(postgres(url).await?),
    };
    let sessions: Vec<(String, i64)> = match &pool {
        Pool::Sqlite(pool) => {
            sqlx::query_as(SESSIONS)
                .bind(DEVICE)
                .fetch_all(pool)
                .await?
        }
        Pool::Postgres(pool) => {
            sqlx::query_as(SESSIONS)
                .bind(DEVICE)
                .fetch_all(pool)
                .await?
        }
    };
    let share = |sessions: &[(String, i64)]| Rotation {
        pool: pool.clone(),
        sessions: sessions.iter().cloned().collect(),
    };
    Ok(sessions
        .chunks(sessions.len().div_ceil(WORKERS))
        .map(share)
        .collect())
}

async fn sqlite(path: &str) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5));
    Ok(SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?)
}

async fn postgres(url: &str) -> Result<PgPool> {
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > Duration::from_secs(1) {
                    connection.ping().await?;
                }
                Ok(true)
            })
        });
    Ok(pool.connect(url).await?)
}

/// Binds and runs the statement.
macro_rules! rotate {
    ($session:expr, $generation:expr, $pool:expr) => {
        sqlx::query(ROTATE)
            .bind($session)
            .bind($generation)
            .bind(NOW)
            .bind("")
            .bind("")
            .bind(DEVICE)
            .execute($pool)
            .await?
            .rows_affected()
    };
}

impl Worker for Rotation {
    async fn ask(&mut self) -> Result<bool> {
        let Some((session, generation)) = self.sessions.pop_front() else {
            return Ok(false);
        };
        let rotated = match &self.pool {
            Pool::Sqlite(pool) => rotate!(&session, generation, pool),
            Pool::Postgres(pool) => rotate!(&session, generation, pool),
        };
        self.sessions.push_back((session, generation + 1));
        if rotated == 1 {
            Ok(true)
        } else {
            Err("the statement changed nothing".into())
        }
    }
}
