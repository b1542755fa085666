//! The keys that access tokens are signed with: a ring of the next key, the active one and those that
//! signed before. It is remembered as long as the change feed is read, and a key that is revoked
//! anywhere is refused once the feed tells it.

mod memory;
mod plan;
mod ring;
mod stored;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::outage::{Outage, in_time, is_outage};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::feed::Feed;
use crate::feed::cache::{FRESH, WITHOUT_STORE};
use crate::feed::flight::{Flight, Flights};
use crate::jose::{self, AccessClaims, Expected, Rejected};
use crate::metrics::{self, KeyState};
use crate::model::signing_key::{SigningKeyInfo, SigningKeyState};
use memory::Memory;
use ring::{Found, Ring};

pub(super) use ring::Key;
pub(super) use stored::context;

pub use ring::Jwks;
pub use stored::StoredKeys;

/// The length of a `kid`: SHA-256 in base64url.
const KID_LEN: usize = 43;

/// The ring. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct SigningKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stored: StoredKeys,
    feed: Feed,
    rotation: Duration,
    metrics: Arc<metrics::SigningKeys>,
    memory: Arc<Memory>,
    /// How many readings have begun.
    begun: AtomicU64,
    readings: Flights<Landed>,
}

/// The result of a reading, for all that waited for it.
#[derive(Clone)]
struct Landed {
    /// Readings are numbered as they begin.
    number: u64,
    result: Result<()>,
}

/// Why a token was not accepted.
pub(super) enum Refused {
    /// It is not a token of ours.
    Invalid,
    /// It was one until it expired.
    Expired(Box<AccessClaims>),
    /// It names a key that is not in memory.
    UnknownKey,
}

impl SigningKeys {
    /// Reads the keys, and creates the first one in a new store. If the active key has another
    /// algorithm than new ones, it is replaced. A key signs for as long as `rotation`.
    pub(super) async fn start(
        stored: StoredKeys,
        feed: Feed,
        rotation: Duration,
        metrics: Arc<metrics::SigningKeys>,
    ) -> Result<Self> {
        let began = stored.clock().elapsed();
        let ring = Ring::new(&stored.prepared().await?, None, |key| stored.open(key))?;
        show(&metrics, &ring, rotation);
        let memory = Arc::new(Memory::new(ring, began));
        // What was committed since is not announced yet: nobody has read the feed further.
        let listener = Arc::clone(&memory);
        let announcements = stored.store().announcements();
        announcements.listen(move |announcement| listener.hear(announcement));
        Ok(Self(Arc::new(Inner {
            stored,
            feed,
            rotation,
            metrics,
            memory,
            begun: AtomicU64::new(0),
            readings: Flights::default(),
        })))
    }

    /// The key that signs.
    pub(super) fn active(&self) -> Arc<Key> {
        Arc::clone(self.0.memory.ring().active())
    }

    /// The public keys of all tokens that are accepted.
    pub(super) fn jwks(&self) -> Arc<Jwks> {
        Arc::clone(&self.0.memory.ring().jwks)
    }

    /// Verifies a token with the keys in memory, and tells its key.
    pub(super) fn verify(
        &self,
        token: &str,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<(AccessClaims, Arc<Key>), Refused> {
        let ring = self.0.memory.ring();
        let (mut key, mut is_unknown) = (None, false);
        let find = |kid: &str| match ring.find(kid) {
            Found::Key(found) => {
                key = Some(Arc::clone(found));
                Some(found.verify_key())
            }
            Found::Revoked => None,
            Found::Unknown => {
                is_unknown = kid.len() == KID_LEN;
                None
            }
        };
        let verified = jose::verify_access(token, find, expected, now);
        match (verified, key) {
            (Ok(claims), Some(key)) => Ok((claims, key)),
            (Err(Rejected::Expired(claims)), _) => Err(Refused::Expired(claims)),
            _ if is_unknown => Err(Refused::UnknownKey),
            _ => Err(Refused::Invalid),
        }
    }

    /// Makes sure that no revocation is missing that was committed a second ago or before. While the
    /// store does not answer, what is in memory counts for half a minute, if the call may do without
    /// the store.
    ///
    /// # Errors
    /// The store's errors.
    pub(super) async fn catch_up(&self, outage: Outage) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        // Boxed, because the rare path would make the future of every verification larger.
        Box::pin(async {
            // Reading the feed may have told of changes.
            if self.0.memory.counts() && self.0.feed.catch_up().await && self.is_current() {
                return Ok(());
            }
            if outage == Outage::Fail || !self.is_remembered() {
                return self.read().await;
            }
            match in_time(self.0.feed.is_silent(), self.read()).await {
                Err(error) if is_outage(&error) && self.is_remembered() => Ok(()),
                read => read,
            }
        })
        .await
    }

    /// Reads the keys, from after this call on. Concurrent calls share one reading.
    ///
    /// # Errors
    /// The store's errors, and if a key cannot be opened.
    pub(super) async fn read(&self) -> Result<()> {
        let begun = self.0.begun.load(Ordering::SeqCst);
        let landed = self.board().await;
        if landed.number > begun || landed.result.is_err() {
            return landed.result;
        }
        // That reading had begun before this call.
        self.board().await.result
    }

    /// As [`SigningKeys::read`], for a token of an unknown key: other tokens, which may be verified from
    /// memory, do not wait long for it.
    ///
    /// # Errors
    /// As there, and if the store does not answer in time.
    pub(super) async fn read_in_time(&self) -> Result<()> {
        in_time(self.0.feed.is_silent(), self.read()).await
    }

    /// Retires the active key at once, and returns the one that signs instead.
    ///
    /// # Errors
    /// The store's errors.
    pub(super) async fn rotate(&self, by: &str) -> Result<SigningKeyInfo> {
        let active = self.0.stored.rotate(by).await?;
        self.0.metrics.changes.of(metrics::KeyChange::Rotated).inc();
        self.read().await?;
        Ok(active)
    }

    /// Revokes a key, and returns the active one. When this returns, this process refuses the key's
    /// tokens, and signs none with it.
    ///
    /// # Errors
    /// [`crate::error::Error::SigningKeyNotFound`], and the store's errors.
    pub(super) async fn revoke(&self, kid: &str, by: &str) -> Result<SigningKeyInfo> {
        let active = self.0.stored.revoke(kid, by).await?;
        self.0.metrics.changes.of(metrics::KeyChange::Revoked).inc();
        self.read().await?;
        Ok(active)
    }

    /// All keys and the public ones among them as JSON, as the store has them now.
    ///
    /// # Errors
    /// The store's errors.
    pub(super) async fn list(&self) -> Result<(Vec<SigningKeyInfo>, Arc<Jwks>)> {
        self.read().await?;
        let ring = self.0.memory.ring();
        Ok((ring.infos.clone(), Arc::clone(&ring.jwks)))
    }

    fn is_current(&self) -> bool {
        self.0.memory.counts() && (self.0.feed.is_current() || self.age() <= FRESH)
    }

    fn is_remembered(&self) -> bool {
        self.0.memory.counts() && self.0.feed.age().min(self.age()) <= WITHOUT_STORE
    }

    /// How long ago the reading of the ring began.
    fn age(&self) -> Duration {
        let now = self.0.stored.clock().elapsed();
        now.saturating_sub(self.0.memory.read_at())
    }

    /// The reading that is under way, or else a new one.
    fn board(&self) -> Flight<Landed> {
        let inner = &self.0;
        inner.readings.board(|| {
            let number = inner.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let inner = Arc::clone(inner);
            async move {
                let result = inner.read().await;
                Landed { number, result }
            }
        })
    }
}

impl Inner {
    async fn read(&self) -> Result<()> {
        let began = self.stored.clock().elapsed();
        let announced = self.memory.announced();
        let sealed = self.stored.sealed().await?;
        let before = self.memory.ring();
        let ring = Ring::new(&sealed, Some(&before), |key| self.stored.open(key))?;
        show(&self.metrics, &ring, self.rotation);
        self.memory.keep(ring, began, announced);
        Ok(())
    }
}

/// Shows the keys in the metrics.
fn show(metrics: &metrics::SigningKeys, ring: &Ring, rotation: Duration) {
    let states = [
        (SigningKeyState::Next, KeyState::Next),
        (SigningKeyState::Active, KeyState::Active),
        (SigningKeyState::Retired, KeyState::Retired),
        (SigningKeyState::Revoked, KeyState::Revoked),
    ];
    for (state, shown) in states {
        let keys = ring.infos.iter().filter(|key| key.state == state);
        let count = i64::try_from(keys.count()).unwrap_or(i64::MAX);
        metrics.keys.of(shown).set(count);
    }
    let active = ring
        .infos
        .iter()
        .find(|key| key.state == SigningKeyState::Active);
    let since = active.and_then(|key| key.activate_time);
    metrics.active_since.set(since.map_or(0, Timestamp::secs));
    let seconds = i64::try_from(rotation.as_secs()).unwrap_or(i64::MAX);
    metrics.rotation.set(seconds);
}
