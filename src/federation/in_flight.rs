//! Renewals in flight: concurrent calls that need the same renewal share it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::model::provider_tokens::TokensKey;
use crate::tasks::Tasks;
use crate::template::vocabulary::Status;

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is a newer version now.
    Renewed,
    /// There will be no newer version.
    Impossible(Status),
    /// The provider or the store did not answer; it may be tried again after a while.
    Unavailable { retry_after: Duration },
}

/// The row and the version that a renewal starts from. The version is part of it, because a call
/// that has seen version 2 must not join the renewal of version 1: its result is version 2.
pub(super) type Start = (TokensKey, i64);

type Results<K, T> = HashMap<K, watch::Receiver<Option<T>>>;

/// The work in flight in this process, by key. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct InFlight<K, T> {
    results: Arc<Mutex<Results<K, T>>>,
    tasks: Tasks,
}

/// Removes work from the list when its task ends, even by a panic.
struct InFlightGuard<K: Eq + Hash, T> {
    results: Arc<Mutex<Results<K, T>>>,
    key: K,
}

impl<K, T> InFlight<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Copy + Send + Sync + 'static,
{
    pub(super) fn new(tasks: Tasks) -> Self {
        Self {
            results: Arc::default(),
            tasks,
        }
    }

    /// The result of the work for `key`, which is started unless it is in flight; `None` if it
    /// panicked. The work runs in a task that goes on if the call is cancelled or the service
    /// stops.
    pub(super) async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut result = self.join(key, work);
        result
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|result| *result)
    }

    fn join<F>(&self, key: K, work: impl FnOnce() -> F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (announce, result) = watch::channel(None);
        // One lock finds and lists the work, so that two calls cannot both start it. It ends before
        // the work begins: a work that panics at once, or a runtime that no longer takes tasks,
        // drops the guard here, which needs the lock.
        match lock(&self.results).entry(key.clone()) {
            Entry::Occupied(in_flight) => return in_flight.get().clone(),
            Entry::Vacant(free) => free.insert(result.clone()),
        };
        let guard = InFlightGuard {
            results: Arc::clone(&self.results),
            key,
        };
        let work = work();
        self.tasks.spawn(async move {
            let done = work.await;
            // Removed before the result is announced: a call that comes later needs new work, not
            // this result.
            drop(guard);
            announce.send_replace(Some(done));
        });
        result
    }
}

impl<K: Eq + Hash, T> Drop for InFlightGuard<K, T> {
    fn drop(&mut self) {
        lock(&self.results).remove(&self.key);
    }
}

fn lock<K, T>(results: &Mutex<Results<K, T>>) -> MutexGuard<'_, Results<K, T>> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}
