//! The connections to a database, and a limit on how long each piece of work may take.
//!
//! A connection goes back to the pool only if it is known to be good. One whose work took too long
//! or failed half-way is closed, so that a database that falls silent can take no place for ever.
//! The pool of sqlx cannot be used: it pings connections that are returned without a limit, and
//! tries a refused connection again for as long as a call may wait.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::metrics::{GaugeGuard, Pooled};
use crate::store::breaker::{Breaker, Pass};
use crate::store::connection::{Connection, Connector};
use crate::store::error::StoreError;
use crate::store::measured::{Begun, CANCELLED, Wait, no_connection};
use crate::store::statement::Statement;

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one statement may take. PostgreSQL ends it before that if it is alive.
pub(in crate::store) const WORK_TIMEOUT: Duration = Duration::from_secs(9);
/// A PostgreSQL connection that was idle for longer is pinged before it is used, because the server
/// may have closed it.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long what a cancelled call left undone may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was idle for longer is closed.
const LONGEST_IDLE: Duration = Duration::from_mins(10);

/// Connections to one database. Clones share them.
#[derive(Clone)]
pub(in crate::store) struct Pool(Arc<Inner>);

struct Inner {
    connector: Connector,
    size: u32,
    permits: Arc<Semaphore>,
    /// The one that was used last is the last.
    idle: Mutex<Vec<Idle>>,
    breaker: Breaker,
    clock: Clock,
    metrics: Pooled,
}

struct Idle {
    connection: Connection,
    since: Duration,
}

/// A connection in use. Once dropped, it goes back to the pool if it is good.
pub(in crate::store) struct Lease {
    pool: Pool,
    /// `None` once it was closed.
    connection: Option<Connection>,
    /// Whether a statement is under way.
    is_busy: bool,
    statement: Option<Begun>,
    /// How often the database had answered when that began.
    answers: u64,
    /// Whether a transaction has begun and not ended.
    in_transaction: bool,
    held: Option<(OwnedSemaphorePermit, Pass, GaugeGuard)>,
}

impl Pool {
    /// A pool of at most `size` connections, with one of them.
    pub(in crate::store) async fn open(
        connector: Connector,
        size: u32,
        metrics: Pooled,
    ) -> Result<Self, StoreError> {
        let first = connector.connect().await?;
        let pool = Self(Arc::new(Inner {
            connector,
            size,
            permits: Arc::new(Semaphore::new(size as usize)),
            idle: Mutex::default(),
            breaker: Breaker::default(),
            clock: Clock::system(),
            metrics,
        }));
        pool.put_back(first);
        Ok(pool)
    }

    pub(in crate::store) fn connector(&self) -> &Connector {
        &self.0.connector
    }

    /// Whether the clones of one pool are asked for.
    pub(in crate::store) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// How often the database has answered.
    pub(in crate::store) fn answers(&self) -> u64 {
        self.0.breaker.answers()
    }

    /// A connection, at most [`ACQUIRE_TIMEOUT`] later.
    pub(in crate::store) async fn acquire(&self) -> Result<Lease, StoreError> {
        let acquired = self.acquire_in_time().await;
        acquired.inspect_err(|error| self.0.metrics.fail(no_connection(error)))
    }

    async fn acquire_in_time(&self) -> Result<Lease, StoreError> {
        let breaker = &self.0.breaker;
        let pass = breaker.pass().ok_or(StoreError::Down)?;
        let answers = breaker.answers();
        let wait = Wait::begin(&self.0.metrics, &self.0.clock);
        match timeout(ACQUIRE_TIMEOUT, self.connection()).await {
            Ok(Ok((permit, connection))) => Ok(Lease {
                pool: self.clone(),
                connection: Some(connection),
                is_busy: false,
                statement: None,
                answers,
                in_transaction: false,
                held: Some((permit, pass, GaugeGuard::new(&self.0.metrics.in_use))),
            }),
            Ok(Err(error)) => {
                wait.refuse();
                Err(error)
            }
            // Others' work is done meanwhile, or the lock of a file is waited for.
            Err(_) if self.0.connector.is_file() || breaker.answers() != answers => {
                Err(StoreError::Overloaded)
            }
            Err(_) => {
                self.has_failed(answers);
                Err(StoreError::Silent)
            }
        }
    }

    async fn connection(&self) -> Result<(OwnedSemaphorePermit, Connection), StoreError> {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        if let Some(connection) = self.idle_connection().await {
            return Ok((permit, connection));
        }
        let answers = self.0.breaker.answers();
        let connected = self.0.connector.connect().await;
        if let Err(error) = &connected
            && !error.is_answer()
        {
            self.has_failed(answers);
        }
        connected.map(|connection| (permit, connection))
    }

    /// An idle connection that works. If one does not, none of the others is trusted.
    async fn idle_connection(&self) -> Option<Connection> {
        let Idle {
            mut connection,
            since,
        } = self.take_idle()?;
        let age = self.0.clock.elapsed().saturating_sub(since);
        if self.0.connector.is_file() || age <= PING_AFTER_IDLE {
            return Some(connection);
        }
        if let Ok(Ok(())) = timeout(PING_TIMEOUT, connection.ping()).await {
            return Some(connection);
        }
        self.close_idle();
        None
    }

    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let taken = idle.pop();
        self.count_idle(&idle);
        taken
    }

    fn count_idle(&self, idle: &[Idle]) {
        let count = i64::try_from(idle.len()).unwrap_or(i64::MAX);
        self.0.metrics.idle.set(count);
    }

    /// Work got no answer that began when the database had answered so often. If nobody else got one
    /// meanwhile, the database does not answer, and new connections have to prove that it does.
    fn has_failed(&self, answers: u64) {
        if self.answers() == answers {
            self.0.breaker.open();
            self.close_idle();
        }
    }

    fn close_idle(&self) {
        drop(self.take_all_idle());
    }

    fn take_all_idle(&self) -> Vec<Idle> {
        let mut idle = self.idle();
        let taken = std::mem::take(&mut *idle);
        self.count_idle(&idle);
        taken
    }

    fn put_back(&self, connection: Connection) {
        if self.0.permits.is_closed() {
            return;
        }
        let since = self.0.clock.elapsed();
        let mut idle = self.idle();
        idle.push(Idle { connection, since });
        let old = |idle: &Idle| since.saturating_sub(idle.since) > LONGEST_IDLE;
        let closed = idle.first().is_some_and(old).then(|| idle.remove(0));
        self.count_idle(&idle);
        drop(idle);
        drop(closed);
    }

    /// Closes all connections once they are free.
    pub(in crate::store) async fn close(&self) {
        let all = self.0.permits.acquire_many(self.0.size).await;
        self.0.permits.close();
        drop(all);
        for idle in self.take_all_idle() {
            if let Err(error) = idle.connection.close().await {
                tracing::debug!(%error, "a connection to the database did not close well");
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Begins a statement.
    pub(in crate::store) fn begin_work(
        &mut self,
        statement: impl Into<Statement>,
    ) -> Result<&mut Connection, StoreError> {
        self.is_busy = true;
        let connection = self.connection.as_mut().ok_or(StoreError::Silent)?;
        let begun = Begun::new(statement.into(), connection, &self.pool.0.clock);
        self.statement = Some(begun);
        self.answers = self.pool.answers();
        Ok(connection)
    }

    /// Ends a statement that [`Lease::begin_work`] began.
    pub(in crate::store) fn end_work<T>(
        &mut self,
        done: Result<sqlx::Result<T>, Elapsed>,
    ) -> Result<T, StoreError> {
        let done = self.settle_work(done);
        self.measure(done.as_ref().err().map(StoreError::kind));
        done
    }

    fn measure(&mut self, failure: Option<&'static str>) {
        if let Some(begun) = self.statement.take() {
            begun.end(failure, &self.pool.0.metrics, &self.pool.0.clock);
        }
    }

    fn settle_work<T>(&mut self, done: Result<sqlx::Result<T>, Elapsed>) -> Result<T, StoreError> {
        let Ok(done) = done else {
            self.connection = None;
            self.pool.has_failed(self.answers);
            return Err(StoreError::Silent);
        };
        self.is_busy = false;
        let Some(connection) = &self.connection else {
            return Err(StoreError::Silent);
        };
        let error = match done {
            Ok(value) => {
                self.pool.0.breaker.close();
                return Ok(value);
            }
            Err(error) => error,
        };
        let (is_broken, failure) = (connection.is_broken_by(&error), connection.failure(error));
        if is_broken {
            self.connection = None;
            self.pool.close_idle();
        } else {
            self.pool.0.breaker.close();
        }
        Err(failure)
    }

    /// Runs a statement without parameters that returns nothing.
    async fn run(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let connection = self.begin_work(sql)?;
        let done = timeout(WORK_TIMEOUT, connection.run(sql)).await;
        self.end_work(done)
    }

    /// Begins a transaction. On SQLite it takes the write lock at once: a transaction that reads
    /// first cannot write any more if another process has written since.
    pub(in crate::store) async fn begin(&mut self) -> Result<(), StoreError> {
        self.in_transaction = true;
        let is_file = self.pool.0.connector.is_file();
        let begun = self.run(if is_file { "BEGIN IMMEDIATE" } else { "BEGIN" });
        let begun = begun.await;
        self.in_transaction = begun.is_ok();
        begun
    }

    /// Commits the transaction. If that fails, SQLite may leave it open, so the connection is
    /// closed; PostgreSQL has rolled it back.
    pub(in crate::store) async fn commit(&mut self) -> Result<(), StoreError> {
        let committed = self.run("COMMIT").await;
        if committed.is_err() && self.pool.0.connector.is_file() {
            self.connection = None;
        }
        self.in_transaction = false;
        committed
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.measure(Some(CANCELLED));
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !self.is_busy && !self.in_transaction {
            return self.pool.put_back(connection);
        }
        // Without a runtime, the connection is closed here.
        if let Ok(runtime) = Handle::try_current() {
            let (pool, held) = (self.pool.clone(), self.held.take());
            runtime.spawn(settle(pool, connection, self.in_transaction, held));
        }
    }
}

/// Ends what was left undone, and only then gives the place in the pool back.
async fn settle(
    pool: Pool,
    mut connection: Connection,
    in_transaction: bool,
    held: Option<(OwnedSemaphorePermit, Pass, GaugeGuard)>,
) {
    let settled = timeout(SETTLE_TIMEOUT, async {
        if in_transaction {
            connection.run("ROLLBACK").await
        } else {
            connection.ping().await
        }
    });
    if let Ok(Ok(())) = settled.await {
        pool.put_back(connection);
    }
    drop(held);
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("size", &self.0.size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
