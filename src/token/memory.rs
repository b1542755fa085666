//! What this process remembers of tokens and sessions, so that the steady state of a verify costs two look-ups.
//!
//! A remembered token holds its session's slot, so a slot lives as long as a token needs it; the index finds live slots by session.
//! A state read from the store is kept only if no change to that session or to any user came in while it was read.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use moka::sync::Cache;

use crate::id::SessionId;
use crate::jose::AccessClaims;
use crate::store::changes::{Change, Changes};
use crate::store::sessions::SessionState;

/// How many tokens are remembered at most.
const TOKENS: u64 = 100_000;
/// What another process may have changed is asked again after so long.
const FRESH: Duration = Duration::from_secs(1);

/// SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// A token whose signature was checked once.
pub(super) struct Remembered {
    pub claims: AccessClaims,
    pub slot: Arc<Slot>,
}

/// What is known of one session.
pub(super) struct Slot {
    id: SessionId,
    known: RwLock<Known>,
    /// Held while the store is read, so that many calls read once.
    pub loading: tokio::sync::Mutex<()>,
    index: Weak<Index>,
}

#[derive(Default)]
struct Known {
    state: Option<Arc<SessionState>>,
    read_at: Duration,
    /// Value of [`Index::users_changed`] when the state was read.
    users: u64,
    /// How often this session was changed.
    changes: u64,
}

/// Taken before the store is read.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    users: u64,
    changes: u64,
}

#[derive(Default)]
struct Index {
    slots: Mutex<HashMap<SessionId, Weak<Slot>>>,
    users_changed: AtomicU64,
}

/// The memory of this process.
pub(super) struct Memory {
    tokens: Cache<TokenHash, Arc<Remembered>>,
    index: Arc<Index>,
}

impl Memory {
    /// Tokens are forgotten after `ttl`, the longest that one can live.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            tokens: Cache::builder()
                .max_capacity(TOKENS)
                .time_to_live(ttl)
                .build(),
            index: Arc::default(),
        }
    }

    /// Keeps the memory true to this process's own commits.
    pub(super) fn follow(&self, changes: &Changes) {
        let index = Arc::clone(&self.index);
        changes.listen(move |change| match change {
            Change::SessionRevoked(id) => index.session_changed(id),
            Change::UserChanged(_) => {
                index.users_changed.fetch_add(1, Ordering::SeqCst);
            }
            Change::TokensChanged(_) => {}
        });
    }

    pub(super) fn recall(&self, hash: &TokenHash) -> Option<Arc<Remembered>> {
        self.tokens.get(hash)
    }

    pub(super) fn remember(
        &self,
        hash: TokenHash,
        claims: AccessClaims,
        slot: Arc<Slot>,
    ) -> Arc<Remembered> {
        let remembered = Arc::new(Remembered { claims, slot });
        self.tokens.insert(hash, Arc::clone(&remembered));
        remembered
    }

    /// The slot of a session, made where there is none.
    pub(super) fn slot(&self, id: &SessionId) -> Arc<Slot> {
        let mut slots = lock(&self.index.slots);
        if let Some(slot) = slots.get(id).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(Slot {
            id: id.clone(),
            known: RwLock::default(),
            loading: tokio::sync::Mutex::default(),
            index: Arc::downgrade(&self.index),
        });
        slots.insert(id.clone(), Arc::downgrade(&slot));
        slot
    }

    /// The session's state, where it was read at most a second ago and nothing changed since.
    pub(super) fn fresh(&self, slot: &Slot, elapsed: Duration) -> Option<Arc<SessionState>> {
        let known = slot.known.read().unwrap_or_else(PoisonError::into_inner);
        let current = known.users == self.index.users_changed.load(Ordering::SeqCst)
            && elapsed.saturating_sub(known.read_at) <= FRESH;
        if current { known.state.clone() } else { None }
    }

    /// To be taken before the store is read.
    pub(super) fn mark(&self, slot: &Slot) -> Mark {
        let changes = slot
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .changes;
        Mark {
            users: self.index.users_changed.load(Ordering::SeqCst),
            changes,
        }
    }

    /// Keeps a state that was read after `mark`, unless something changed since.
    pub(super) fn keep(
        &self,
        slot: &Slot,
        mark: Mark,
        state: &Arc<SessionState>,
        read_at: Duration,
    ) {
        let mut known = slot.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.changes == mark.changes
            && self.index.users_changed.load(Ordering::SeqCst) == mark.users
        {
            known.state = Some(Arc::clone(state));
            known.read_at = read_at;
            known.users = mark.users;
        }
    }
}

impl Slot {
    pub(super) fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Index {
    fn session_changed(&self, id: &SessionId) {
        let slot = lock(&self.slots).get(id).and_then(Weak::upgrade);
        if let Some(slot) = slot {
            let mut known = slot.known.write().unwrap_or_else(PoisonError::into_inner);
            known.state = None;
            known.changes += 1;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(index) = self.index.upgrade() {
            let mut slots = lock(&index.slots);
            // Another slot may have taken the place since the last holder let go of this one.
            if slots
                .get(&self.id)
                .is_some_and(|slot| slot.strong_count() == 0)
            {
                slots.remove(&self.id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
