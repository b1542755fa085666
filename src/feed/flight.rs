//! Work that all who want it at the same time share.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// Work under way. Whoever waits for it drives it, so it goes on if the call that began it is
/// cancelled, and is dropped if all of them are.
pub type Flight<T> = Shared<BoxFuture<'static, T>>;

/// The place of one piece of work.
pub struct Flights<T: Clone>(Mutex<Option<WeakShared<BoxFuture<'static, T>>>>);

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The work that is under way, or else new work.
    pub fn board<F>(&self, begin: impl FnOnce() -> F) -> Flight<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.lock();
        let joined = under_way.as_ref().and_then(WeakShared::upgrade);
        // An ended flight stays in memory until everybody has taken its answer.
        if let Some(joined) = joined.filter(|flight| flight.peek().is_none()) {
            return joined;
        }
        let new = begin().boxed().shared();
        *under_way = new.downgrade();
        new
    }

    fn lock(&self) -> MutexGuard<'_, Option<WeakShared<BoxFuture<'static, T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}
