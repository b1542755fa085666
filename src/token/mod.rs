//! Sessions and their tokens.

mod access;
mod doubt;
mod exchange;
mod idle;
mod issue;
mod last_seen;
mod opening;
mod outage;
mod reauthentication;
mod refresh;
mod resealing;
mod revocations;
mod session;
mod session_cache;
mod signer;
mod signing_keys;
mod watches;

use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::config::token::{Signing, Token as Settings};
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::id::SessionId;
use crate::jose::SharedKey;
use crate::metrics::{self, Metrics};
use crate::model::session::{NotLive, SessionLimit, SessionState};
use crate::model::signing_key::SigningKeyInfo;
use crate::secret::Keyring;
use crate::store::Store;
use crate::tasks::Tasks;
use doubt::Doubts;
use last_seen::LastSeen;
use refresh::RefreshTokens;
use session_cache::SessionCache;
use signer::Signer;
use signing_keys::SigningKeys;
use watches::Watches;

pub use access::{Accepts, Inactive, LiveToken, Verdict};
pub use exchange::{Exchanged, Narrowed};
pub use opening::OpenSession;
pub use outage::{Outage, verifies_without_store};
pub use resealing::reseal_signing_keys;
pub use revocations::{Event, News, Watch};
pub use signing_keys::{Jwks, StoredKeys};

/// Opens, verifies, refreshes and ends sessions. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    feed: Feed,
    clock: Clock,
    settings: Settings,
    signer: Signer,
    refresh: RefreshTokens,
    doubts: Doubts,
    sessions: SessionCache,
    last_seen: Arc<LastSeen>,
    watches: Watches,
    metrics: Arc<metrics::Sessions>,
}

/// The credentials of one session. It has no `Debug`, so that they cannot be printed.
pub struct TokenPair {
    /// JWT (RFC 9068).
    pub access_token: String,
    /// Opaque, works once.
    pub refresh_token: String,
    /// When the access token expires.
    pub access_expire_time: Timestamp,
    /// When the session, and with it the refresh token, expires.
    pub refresh_expire_time: Timestamp,
    /// The session that both tokens belong to.
    pub session_id: SessionId,
}

impl Tokens {
    /// Reads the signing keys, and creates the first one in a new store. The cache of verified tokens
    /// may occupy `memory` bytes.
    ///
    /// # Errors
    /// If the store does not answer, or a signing key cannot be opened with these root keys.
    pub async fn start(
        store: Store,
        feed: Feed,
        keyring: &Keyring,
        clock: Clock,
        settings: Settings,
        memory: u64,
        metrics: &Metrics,
    ) -> Result<Self> {
        let signer = match &settings.signing {
            Signing::Keys(algorithm) => {
                let (keyring, clock) = (keyring.clone(), clock.clone());
                let stored = StoredKeys::new(store.clone(), keyring, clock, *algorithm);
                let (feed, metrics) = (feed.clone(), Arc::clone(&metrics.signing_keys));
                let keys = SigningKeys::start(stored, feed, settings.key_rotation, metrics);
                Signer::Keys(keys.await?)
            }
            Signing::Secret(secret) => {
                let key = SharedKey::new(secret);
                let too_short = || Error::internal("JWT_SECRET is too short");
                Signer::by_secret(key.ok_or_else(too_short)?)?
            }
        };
        let refresh = RefreshTokens::new(keyring);
        let doubts = Doubts::new(clock.clone());
        let last_seen = LastSeen::new(
            store.clone(),
            settings.session_idle,
            Arc::clone(&metrics.sessions),
        );
        let last_seen = Arc::new(last_seen);
        let sessions = SessionCache::new(
            store.clone(),
            feed.clone(),
            clock.clone(),
            Arc::clone(&last_seen),
            settings.access_ttl,
            memory,
        );
        Ok(Self(Arc::new(Inner {
            store,
            feed,
            clock,
            settings,
            signer,
            refresh,
            doubts,
            sessions,
            last_seen,
            watches: Watches::new(),
            metrics: Arc::clone(&metrics.sessions),
        })))
    }

    /// Shows the cache of verified tokens in the metrics.
    pub fn show(&self, caches: &metrics::Caches) {
        self.0.sessions.show(caches);
    }

    /// The name of the background task that keeps the signing keys in order.
    pub const KEYS_TASK: &str = SigningKeys::TASK;

    /// Rotates the signing keys when they are due, and follows what others do to them. It returns only
    /// if there are none.
    pub async fn keep_keys(self, tasks: Tasks) {
        if let Ok(keys) = self.0.signer.keys() {
            keys.clone().run(tasks).await;
        }
    }

    /// Whether tokens are signed with keys of our own.
    pub fn has_keys(&self) -> bool {
        self.0.signer.keys().is_ok()
    }

    /// The signing keys, the next and the active one first, and the public ones of those whose tokens
    /// are accepted.
    ///
    /// # Errors
    /// [`Error::SigningKeysUnused`] if tokens are signed with a secret, and the store's errors.
    pub async fn list_keys(&self) -> Result<(Vec<SigningKeyInfo>, Arc<Jwks>)> {
        self.0.signer.keys()?.list().await
    }

    /// Lets another key sign from now on, and returns it. Tokens of the former one are accepted until
    /// they expire.
    ///
    /// # Errors
    /// [`Error::SigningKeysUnused`] if tokens are signed with a secret, and the store's errors.
    pub async fn rotate_key(&self, caller: &str) -> Result<SigningKeyInfo> {
        self.0.signer.keys()?.rotate(caller).await
    }

    /// Refuses all tokens of a key from now on, and returns the key that signs. It is no error if the
    /// key was revoked before.
    ///
    /// # Errors
    /// [`Error::SigningKeyNotFound`], [`Error::SigningKeysUnused`], and the store's errors.
    pub async fn revoke_key(&self, kid: &str, caller: &str) -> Result<SigningKeyInfo> {
        self.0.signer.keys()?.revoke(kid, caller).await
    }

    /// The public keys of all tokens that are accepted, as they are known here.
    pub fn jwks(&self) -> Arc<Jwks> {
        self.0.signer.jwks()
    }

    /// The issuer of the tokens that are issued here.
    pub fn issuer(&self) -> &str {
        &self.0.settings.issuer
    }

    /// The audience of the tokens that are issued here; a request with an empty `audience` means
    /// this one.
    pub fn audience(&self) -> &str {
        &self.0.settings.audience
    }

    /// How many live sessions a user may have at `now`.
    pub fn session_limit(&self, now: Timestamp) -> SessionLimit {
        SessionLimit {
            most: self.0.settings.sessions_per_user,
            used_since: self.0.last_seen.live_at(now).used_since,
        }
    }
}

impl Inner {
    /// Whether a session that was just read is live, with what this process knows of its last use.
    fn check_live(&self, state: &SessionState, now: Timestamp) -> Result<(), NotLive> {
        let seen = self.sessions.seen(&state.session.id);
        state.check_live(self.last_seen.live_at(now), seen)
    }
}

#[cfg(test)]
mod tests;
