//! Opened tokens of sessions in use, for a second at most, so that resolving does not ask the store each time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::sync::Cache;

use super::held::Held;
use crate::id::SessionId;
use crate::store::changes::{Change, Changes};

const SESSIONS: u64 = 10_000;
/// What another process may have changed is asked again after so long.
const FRESH: Duration = Duration::from_secs(1);
/// Opened tokens of a session that nobody asks for leave the memory after so long.
const IDLE: Duration = Duration::from_mins(1);

#[derive(Clone)]
struct Known {
    held: Arc<Vec<Arc<Held>>>,
    read_at: Duration,
}

/// The memory of this process.
#[derive(Clone)]
pub(super) struct Memory {
    sessions: Cache<SessionId, Known>,
    /// How often anything changed; held while an entry is kept or dropped, so that what was read before a change is not kept after it.
    changes: Arc<Mutex<u64>>,
}

/// Taken before the store is read.
#[derive(Clone, Copy)]
pub(super) struct Mark(u64);

impl Default for Memory {
    fn default() -> Self {
        Self {
            sessions: Cache::builder()
                .max_capacity(SESSIONS)
                .time_to_idle(IDLE)
                .build(),
            changes: Arc::default(),
        }
    }
}

impl Memory {
    /// Keeps the memory true to this process's own commits.
    pub(super) fn follow(&self, changes: &Changes) {
        let memory = self.clone();
        changes.listen(move |change| {
            let mut count = memory.count();
            *count += 1;
            match change {
                Change::SessionRevoked(session) | Change::TokensChanged(session) => {
                    memory.sessions.invalidate(session);
                }
                Change::UserChanged(_) => memory.sessions.invalidate_all(),
            }
        });
    }

    pub(super) fn recall(
        &self,
        session: &SessionId,
        elapsed: Duration,
    ) -> Option<Arc<Vec<Arc<Held>>>> {
        let known = self.sessions.get(session)?;
        (elapsed.saturating_sub(known.read_at) <= FRESH).then_some(known.held)
    }

    /// Forgets a session whose tokens were found to have changed in another process.
    pub(super) fn forget(&self, session: &SessionId) {
        let mut count = self.count();
        *count += 1;
        self.sessions.invalidate(session);
    }

    /// To be taken before the store is read.
    pub(super) fn mark(&self) -> Mark {
        Mark(*self.count())
    }

    /// Keeps what was read after `mark`, unless something changed since.
    pub(super) fn keep(
        &self,
        session: &SessionId,
        mark: Mark,
        held: &Arc<Vec<Arc<Held>>>,
        read_at: Duration,
    ) {
        let count = self.count();
        if *count == mark.0 {
            self.sessions.insert(
                session.clone(),
                Known {
                    held: Arc::clone(held),
                    read_at,
                },
            );
        }
    }

    fn count(&self) -> std::sync::MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
