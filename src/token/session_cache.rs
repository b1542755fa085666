//! Caches verified tokens with their sessions' entries, so that verifying a token again takes one
//! look-up and checks no signature.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Bounded;

use super::last_seen::{LastSeen, Seen};
use super::outage::{Outage, in_time, is_outage};
use super::signer::SignedWith;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::feed::cache::{Affects, Cache, Cached, Entry, Moment};
use crate::id::{SessionId, UserId};
use crate::jose::AccessClaims;
use crate::metrics::{self, Caches, Source};
use crate::model::session::SessionState;
use crate::store::Store;
use crate::store::announcements::Announcement;

/// The weight of a token with its session, in bytes: `OVERHEAD`, and `TIMES_TEXT` times the length of
/// their texts. With
/// user agents of 110 bytes a token was measured to take between 2,450 and 4,650 bytes of resident
/// memory: part of it is lost between the blocks of the allocator, more or less of it as other calls
/// come in between. `scripts/prove memory` measures it again.
const OVERHEAD: usize = 3800;
const TIMES_TEXT: usize = 3;

/// Sessions whose states are to be read.
type Entries<'a> = HashMap<SessionId, &'a Arc<Entry<SessionState>>>;

/// SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// The state of a session, `None` if there is no such session, and where it came from.
pub(super) type Sourced = (Source, Result<Option<Arc<SessionState>>>);

/// The state of a session, unless it is not known whether the token's key was revoked.
pub(super) fn with_keys((source, state): Sourced, keys: Result<()>) -> Sourced {
    match keys {
        Ok(()) => (source, state),
        Err(error) => (source, state.and(Err(error))),
    }
}

/// A token whose signature was checked once. It keeps its session's entry alive, and its key.
pub(super) struct VerifiedToken {
    pub claims: AccessClaims,
    pub session: Arc<Entry<SessionState>>,
    pub key: SignedWith,
    /// The bytes that it occupies with its session.
    weight: u32,
}

/// The verified tokens, and the state of their sessions.
pub(super) struct SessionCache {
    store: Store,
    last_seen: Arc<LastSeen>,
    tokens: Bounded<TokenHash, Arc<VerifiedToken>>,
    states: Cache<SessionState>,
}

impl SessionCache {
    /// Tokens leave the cache after `ttl`, the longest lifetime of a token, and earlier if they would
    /// occupy more than `memory` bytes.
    pub(super) fn new(
        store: Store,
        feed: Feed,
        clock: Clock,
        last_seen: Arc<LastSeen>,
        ttl: Duration,
        memory: u64,
    ) -> Self {
        let states = Cache::new(clock, store.announcements(), affects).following(feed);
        let tokens = Bounded::builder()
            .max_capacity(memory)
            .weigher(|_, token: &Arc<VerifiedToken>| token.weight)
            .time_to_live(ttl);
        Self {
            store,
            last_seen,
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
        key: SignedWith,
        state: &SessionState,
    ) -> Arc<VerifiedToken> {
        let weight = OVERHEAD + TIMES_TEXT * (claims.text_bytes() + state.text_bytes());
        let token = Arc::new(VerifiedToken {
            claims,
            session,
            key,
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
    pub(super) async fn state(
        &self,
        entry: &Entry<SessionState>,
        outage: Outage,
        now: Timestamp,
    ) -> Sourced {
        if let Some(state) = self.states.caught_up(entry).await {
            if !self.seems_idle(entry, &state, now) {
                return from_memory(state);
            }
            // Another process may have seen it.
            self.states.forget(entry.id());
        }
        let read = |session: SessionId| {
            let store = self.store.clone();
            async move { Ok(store.find_session(&session, now).await?) }
        };
        let read = self.states.get(entry, read);
        if outage == Outage::Fail || self.states.last_known(entry).is_none() {
            return (Source::Store, read.await);
        }
        match Box::pin(in_time(self.states.is_store_silent(), read)).await {
            Ok(state) => (Source::Store, Ok(state)),
            Err(error) => self.during_outage(entry, error),
        }
    }

    /// Whether a session has not been used for too long, as far as this process knows.
    fn seems_idle(
        &self,
        entry: &Entry<SessionState>,
        state: &SessionState,
        now: Timestamp,
    ) -> bool {
        state
            .session
            .is_idle(self.last_seen.live_at(now), entry.note().last())
    }

    /// When a session was last used in this process; the beginning of the epoch if it was not.
    pub(super) fn seen(&self, session: &SessionId) -> Timestamp {
        let entry = self.states.find(session);
        entry.map_or(Timestamp::from_millis(0), |entry| entry.note().last())
    }

    /// Notes that a live session is used now.
    pub(super) fn note_use(
        &self,
        entry: &Entry<SessionState>,
        state: &SessionState,
        now: Timestamp,
    ) {
        let known = state.session.last_use();
        self.last_seen.note(entry.id(), entry.note(), known, now);
    }

    /// What is in memory of a session that could not be read.
    fn during_outage(&self, entry: &Entry<SessionState>, error: Error) -> Sourced {
        let known = self.states.last_known(entry);
        let known = known.filter(|_| is_outage(&error));
        known.map_or((Source::Store, Err(error)), from_memory)
    }

    /// The states of sessions. Those of which nothing in memory counts are read with one statement;
    /// if that fails, it fails for all of them.
    pub(super) async fn states<'a>(
        &self,
        sessions: impl Iterator<Item = &'a Arc<Entry<SessionState>>>,
        now: Timestamp,
    ) -> HashMap<SessionId, Sourced> {
        let mut cold: HashMap<_, _> = sessions.map(|entry| (entry.id().clone(), entry)).collect();
        let mut states = self.remembered(&mut cold, now).await;
        if cold.is_empty() {
            return states;
        }
        let began = self.moment();
        match Box::pin(self.read(&cold, now)).await {
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
                let failed =
                    |(id, entry): (_, &Arc<_>)| (id, self.during_outage(entry, error.clone()));
                states.extend(cold.into_iter().map(failed));
            }
        }
        states
    }

    /// Takes those sessions out of which what is in memory counts. The change feed is waited for once.
    async fn remembered(
        &self,
        cold: &mut Entries<'_>,
        now: Timestamp,
    ) -> HashMap<SessionId, Sourced> {
        let in_use = |entry: &_, state: Option<Arc<SessionState>>| {
            state.filter(|state| !self.seems_idle(entry, state, now))
        };
        let mut states = take(cold, |entry| in_use(entry, self.states.fresh(entry)));
        let may_count = cold
            .values()
            .any(|entry| self.states.unchanged(entry).is_some());
        if may_count && self.states.catch_up().await {
            states.extend(take(cold, |entry| {
                in_use(entry, self.states.unchanged(entry))
            }));
        }
        states
    }

    /// Reads sessions with one statement.
    async fn read(&self, cold: &Entries<'_>, now: Timestamp) -> Result<Vec<SessionState>> {
        let ids: Vec<_> = cold.keys().collect();
        let read = async { Ok(self.store.find_sessions(&ids, now).await?) };
        if cold
            .values()
            .any(|entry| self.states.last_known(entry).is_some())
        {
            in_time(self.states.is_store_silent(), read).await
        } else {
            read.await
        }
    }

    /// Drops what is known of a session that has ended, unless that is known.
    pub(super) fn forget_if_live(&self, session: &SessionId) {
        let known = self.states.unchanged(&self.entry(session));
        if known.is_some_and(|known| known.session.revoke_time.is_none()) {
            self.states.forget(session);
        }
    }
}

/// Takes those sessions out of which `counts` gives a state.
fn take(
    cold: &mut Entries<'_>,
    counts: impl Fn(&Entry<SessionState>) -> Option<Arc<SessionState>>,
) -> HashMap<SessionId, Sourced> {
    let known =
        |(id, entry): (&SessionId, &&Arc<_>)| Some((id.clone(), from_memory(counts(entry)?)));
    let known: HashMap<_, _> = cold.iter().filter_map(known).collect();
    cold.retain(|id, _| !known.contains_key(id));
    known
}

fn from_memory(state: Arc<SessionState>) -> Sourced {
    (Source::Memory, Ok(Some(state)))
}

impl Cached for SessionState {
    type Note = Arc<Seen>;

    fn user(&self) -> Option<&UserId> {
        Some(&self.user.id)
    }
}

fn affects(change: &Announcement) -> Affects<'_> {
    match change {
        Announcement::SessionRevoked(session) => Affects::Session(session),
        Announcement::UserChanged(user) => Affects::User(user),
        Announcement::Everything => Affects::Everything,
        Announcement::TokensChanged(_)
        | Announcement::TokensOfUserChanged(_)
        | Announcement::KeyRevoked(_)
        | Announcement::KeysChanged => Affects::Nothing,
    }
}

impl fmt::Debug for SessionCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache").finish_non_exhaustive()
    }
}
