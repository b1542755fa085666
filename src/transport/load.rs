//! How much calls may occupy at once. What is beyond these limits is refused with BUSY, so that the
//! service neither runs out of memory nor takes in more than it can do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};

/// How many calls of known callers may be open: from their headers until the caller has taken the
/// answer.
const MAX_OPEN: usize = 2048;
/// How many calls may be at work: from the end of the request until the handler is done, and all
/// that it left to run to its end.
const MAX_AT_WORK: usize = 512;
/// How many streams of reflection may be open. It needs no caller, and its answers are large.
const MAX_REFLECTION: usize = 32;
/// The bytes of all large messages in memory: requests until their work is done, answers until the
/// caller has taken them.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// A message up to this size does not count by its bytes; it is part of what an open call takes.
pub(super) const SMALL: usize = 16 * 1024;
/// When a refused caller may try again.
const RETRY: Duration = Duration::from_secs(1);

/// What the calls of a listener occupy. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Load(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    open: Arc<Semaphore>,
    at_work: Arc<Semaphore>,
    reflection: Arc<Semaphore>,
    bytes: Budget,
}

impl Load {
    pub(super) fn new() -> Self {
        Self(Arc::new(Limits {
            open: Arc::new(Semaphore::new(MAX_OPEN)),
            at_work: Arc::new(Semaphore::new(MAX_AT_WORK)),
            reflection: Arc::new(Semaphore::new(MAX_REFLECTION)),
            bytes: Budget::new(MAX_BYTES),
        }))
    }

    /// The refusal of what is beyond the limits.
    pub(super) fn busy() -> Error {
        Error::Busy { retry_after: RETRY }
    }

    /// A place for a call of a known caller.
    pub(super) fn open(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.0.open)
    }

    fn work_place(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.0.at_work)
    }

    /// A place for a stream of reflection.
    pub(super) fn reflect(&self) -> Result<OwnedSemaphorePermit> {
        place(&self.0.reflection)
    }

    /// Room for a large message, which counts for its connection too.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is none.
    pub(super) fn charge(&self, connection: Option<&Budget>, bytes: usize) -> Result<Charge> {
        let budgets = [Some(&self.0.bytes), connection].into_iter().flatten();
        let parts: Option<Vec<_>> = budgets.map(|budget| budget.take(bytes)).collect();
        parts.map(Charge).ok_or_else(Load::busy)
    }

    /// The work of a call, which has not begun yet.
    pub(super) fn work(&self, connection: Option<Budget>) -> Arc<Work> {
        Arc::new(Work {
            load: self.clone(),
            connection,
            place: OnceLock::new(),
            request: Mutex::default(),
        })
    }
}

fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    Arc::clone(places)
        .try_acquire_owned()
        .map_err(|_| Load::busy())
}

/// A call's work: its place among those at work, and its request in memory. All is given back when
/// the last clone is dropped.
#[derive(Debug)]
pub(super) struct Work {
    load: Load,
    connection: Option<Budget>,
    place: OnceLock<OwnedSemaphorePermit>,
    request: Mutex<Vec<Charge>>,
}

impl Work {
    /// Notes that so many bytes of the request were received.
    ///
    /// # Errors
    /// [`Error::Busy`] if there is no room for them.
    pub(super) fn receive(&self, bytes: usize) -> Result<()> {
        let charge = self.load.charge(self.connection.as_ref(), bytes)?;
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.push(charge);
        Ok(())
    }

    /// Takes a place for the work, once the request is complete.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many calls are at work.
    pub(super) fn begin(&self) -> Result<()> {
        if self.place.get().is_none() {
            let _only_one_body_calls_this = self.place.set(self.load.work_place()?);
        }
        Ok(())
    }
}

/// A number of bytes that may be in memory. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Bytes>);

#[derive(Debug)]
struct Bytes {
    max: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Bytes {
            max,
            taken: AtomicUsize::new(0),
        }))
    }

    fn take(&self, bytes: usize) -> Option<Part> {
        let more = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= self.0.max);
        let taken = &self.0.taken;
        let done = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        done.ok().map(|_| Part {
            budget: self.clone(),
            bytes,
        })
    }
}

/// Bytes taken from every budget that they count for, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge(#[expect(dead_code, reason = "held until it is dropped")] Vec<Part>);

/// Bytes taken from one budget, until it is dropped.
#[derive(Debug)]
struct Part {
    budget: Budget,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_the_process_and_the_connection_until_they_are_dropped() {
        let (load, small, large) = (Load::new(), Budget::new(100), Budget::new(MAX_BYTES));
        let first = load.charge(Some(&small), 100).expect("room");
        assert!(load.charge(Some(&small), 1).is_err());
        let other = load.charge(Some(&large), MAX_BYTES - 100).expect("room");
        assert!(load.charge(None, 1).is_err());
        drop(first);
        assert!(load.charge(Some(&small), 101).is_err());
        assert!(load.charge(Some(&small), 100).is_ok());
        drop(other);
        assert!(load.charge(None, MAX_BYTES).is_ok());
    }

    #[test]
    fn a_place_at_work_is_taken_once_and_kept_until_the_last_holder_is_gone() {
        let load = Load::new();
        let first = load.work(None);
        assert!(first.begin().is_ok() && first.begin().is_ok());
        let others: Vec<_> = (1..MAX_AT_WORK).map(|_| load.work(None)).collect();
        assert!(others.iter().all(|work| work.begin().is_ok()));
        let late = load.work(None);
        assert!(matches!(late.begin(), Err(Error::Busy { .. })));
        let detached = Arc::clone(&first);
        drop(first);
        assert!(late.begin().is_err());
        drop(detached);
        assert!(late.begin().is_ok());
    }
}
