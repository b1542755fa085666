//! Caches verified tokens with their sessions' entries, so that verifying a token again takes one
//! look-up and checks no signature.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Bounded;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::feed::cache::{Affects, Cache, Cached, Entry, FRESH, Moment};
use crate::id::{SessionId, UserId};
use crate::jose::AccessClaims;
use crate::metrics::{self, Caches, Source};
use crate::model::session::SessionState;
use crate::store::Store;
use crate::store::changes::Change;

/// The weight of a token with its session, in bytes: `OVERHEAD`, and `TIMES_TEXT` times the length of
/// their texts. With
/// user agents of 110 bytes a token was measured to take between 2,450 and 4,650 bytes of resident
/// memory: part of it is lost between the blocks of the allocator, more or less of it as other calls
/// come in between. `scripts/prove memory` measures it again.
const OVERHEAD: usize = 3800;
const TIMES_TEXT: usize = 3;

/// Whether access tokens can be verified from memory if the store has been silent for so long.
#[must_use]
pub fn verifies_without_store(silence: Duration) -> bool {
    silence <= FRESH
}

/// SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// The state of a session, `None` if there is no such session, and where it came from.
pub(super) type Sourced = (Source, Result<Option<Arc<SessionState>>>);

/// A token whose signature was checked once. It keeps its session's entry alive.
pub(super) struct VerifiedToken {
    pub claims: AccessClaims,
    pub session: Arc<Entry<SessionState>>,
    /// The bytes that it occupies with its session.
    weight: u32,
}

/// The verified tokens, and the state of their sessions.
pub(super) struct SessionCache {
    store: Store,
    tokens: Bounded<TokenHash, Arc<VerifiedToken>>,
    states: Cache<SessionState>,
}

impl SessionCache {
    /// Tokens leave the cache after `ttl`, the longest lifetime of a token, and earlier if they would
    /// occupy more than `memory` bytes.
    pub(super) fn new(store: Store, clock: Clock, ttl: Duration, memory: u64) -> Self {
        let states = Cache::new(clock, store.changes(), affects);
        let tokens = Bounded::builder()
            .max_capacity(memory)
            .weigher(|_, token: &Arc<VerifiedToken>| token.weight)
            .time_to_live(ttl);
        Self {
            store,
            tokens: tokens.build(),
            states,
        }
    }

    /// Shows the cache of tokens in the metrics.
    pub(super) fn show(&self, caches: &Caches) {
        let (entries, bytes) = (self.tokens.clone(), self.tokens.clone());
        let most = self.tokens.policy().max_capacity();
        caches.follow(
            metrics::Cache::Tokens,
            move || {
                // Removes what has expired, too, which otherwise waits for the next calls.
                entries.run_pending_tasks();
                entries.entry_count()
            },
            move || bytes.weighted_size(),
            most.unwrap_or_default(),
        );
    }

    pub(super) fn find(&self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        self.tokens.get(hash)
    }

    /// Remembers a token of the session whose state this is.
    pub(super) fn insert(
        &self,
        hash: TokenHash,
        claims: AccessClaims,
        session: Arc<Entry<SessionState>>,
        state: &SessionState,
    ) -> Arc<VerifiedToken> {
        let weight = OVERHEAD + TIMES_TEXT * (claims.text_bytes() + state.text_bytes());
        let token = Arc::new(VerifiedToken {
            claims,
            session,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        });
        self.tokens.insert(hash, Arc::clone(&token));
        token
    }

    pub(super) fn entry(&self, session: &SessionId) -> Arc<Entry<SessionState>> {
        self.states.entry(session)
    }

    /// This moment; take it before a state is read that is given to [`SessionCache::keep`].
    pub(super) fn moment(&self) -> Moment {
        self.states.moment()
    }

    /// Keeps a state whose reading began at that moment.
    pub(super) fn keep(&self, state: Arc<SessionState>, began: Moment) -> Arc<Entry<SessionState>> {
        let entry = self.entry(&state.session.id);
        self.states.keep(&entry, state, began);
        entry
    }

    /// The state of a session.
    pub(super) async fn state(&self, entry: &Entry<SessionState>, now: Timestamp) -> Sourced {
        if let Some(state) = self.states.fresh(entry) {
            return (Source::Memory, Ok(Some(state)));
        }
        let read = |session: SessionId| {
            let store = self.store.clone();
            async move { Ok(store.find_session(&session, now).await?) }
        };
        (Source::Store, self.states.get(entry, read).await)
    }

    /// The states of sessions. Those that are not fresh in memory are read with one statement; if
    /// that fails, it fails for all of them.
    pub(super) async fn states<'a>(
        &self,
        sessions: impl Iterator<Item = &'a Arc<Entry<SessionState>>>,
        now: Timestamp,
    ) -> HashMap<SessionId, Sourced> {
        let (mut states, mut cold) = (HashMap::new(), HashMap::new());
        for session in sessions {
            match self.states.fresh(session) {
                Some(state) => {
                    let known = (Source::Memory, Ok(Some(state)));
                    states.insert(session.id().clone(), known);
                }
                None => drop(cold.insert(session.id().clone(), session)),
            }
        }
        if cold.is_empty() {
            return states;
        }
        let began = self.moment();
        let ids: Vec<_> = cold.keys().collect();
        match self.store.find_sessions(&ids, now).await {
            Ok(found) => {
                for state in found.into_iter().map(Arc::new) {
                    let id = state.session.id.clone();
                    if let Some(session) = cold.get(&id) {
                        self.states.keep(session, Arc::clone(&state), began);
                    }
                    states.insert(id, (Source::Store, Ok(Some(state))));
                }
            }
            Err(error) => {
                let error = Error::from(error);
                let failed = |id| (id, (Source::Store, Err(error.clone())));
                states.extend(cold.into_keys().map(failed));
            }
        }
        states
    }

    /// Drops what is known of a session that has ended, unless that is known.
    pub(super) fn forget_if_live(&self, session: &SessionId) {
        let known = self.states.fresh(&self.entry(session));
        if known.is_some_and(|known| known.session.revoke_time.is_none()) {
            self.states.forget(session);
        }
    }
}

impl Cached for SessionState {
    fn user(&self) -> Option<&UserId> {
        Some(&self.user.id)
    }
}

fn affects(change: &Change) -> Affects<'_> {
    match change {
        Change::SessionRevoked(session) => Affects::Session(session),
        Change::UserChanged(user) => Affects::User(user),
        Change::TokensChanged(_) | Change::TokensOfUserChanged(_) => Affects::Nothing,
    }
}

impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache").finish_non_exhaustive()
    }
}
