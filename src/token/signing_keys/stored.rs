//! The signing keys in the store: makes, opens and changes them, in the process that serves and in
//! subcommands.

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::jose::{Algorithm, SigningKey};
use crate::model::signing_key::{SealedSigningKey, SigningKeyInfo, SigningKeyState};
use crate::secret::{Keyring, OpenError, Purpose};
use crate::store::{KeyRevocation, Store, StoreError, Successor};

/// The signing keys in the store. Clones share everything.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    store: Store,
    keyring: Keyring,
    clock: Clock,
    /// That of new keys.
    algorithm: Algorithm,
}

impl StoredKeys {
    /// The keys of a store, whose private halves the keyring seals.
    #[must_use]
    pub fn new(store: Store, keyring: Keyring, clock: Clock, algorithm: Algorithm) -> Self {
        Self {
            store,
            keyring,
            clock,
            algorithm,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) async fn sealed(&self) -> Result<Vec<SealedSigningKey>> {
        Ok(self.store.list_signing_keys().await?)
    }

    /// The keys of a store that is to be served from: there is an active one of the algorithm of new
    /// ones, and a next one of it.
    pub(super) async fn prepared(&self) -> Result<Vec<SealedSigningKey>> {
        let sealed = self.sealed().await?;
        let is_there = |state| {
            let fits =
                |key: &SealedSigningKey| key.state == state && key.algorithm == self.algorithm;
            sealed.iter().any(fits)
        };
        if is_there(SigningKeyState::Active) && is_there(SigningKeyState::Next) {
            return Ok(sealed);
        }
        self.ensure_active().await?;
        self.change_algorithm().await?;
        self.ensure_next().await?;
        self.sealed().await
    }

    /// All keys: the next one, the active one, then those that signed before, the newest first.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn list(&self) -> Result<Vec<SigningKeyInfo>> {
        let sealed = self.sealed().await?;
        Ok(sealed.iter().map(SealedSigningKey::info).collect())
    }

    /// The active key. A new store gets its first one; if several processes start at once, all of them
    /// use the key that was stored first.
    ///
    /// # Errors
    /// The store's errors.
    async fn ensure_active(&self) -> Result<SigningKeyInfo> {
        if let Some(active) = self.find_active().await? {
            return Ok(active);
        }
        let first = self.make(SigningKeyState::Active)?;
        self.store.insert_first_signing_key(&first).await?;
        self.active().await
    }

    /// If the active key has another algorithm than new ones, puts one of that algorithm in its place.
    async fn change_algorithm(&self) -> Result<()> {
        let keys = self.list().await?;
        let is_other = |key: &&SigningKeyInfo| key.algorithm != self.algorithm;
        let mut next = keys.iter().filter(|key| key.state == SigningKeyState::Next);
        if let Some(next) = next.find(is_other) {
            self.store.withdraw_next_signing_key(&next.kid).await?;
        }
        let mut active = keys
            .iter()
            .filter(|key| key.state == SigningKeyState::Active);
        if let Some(active) = active.find(is_other) {
            let (from, to) = (active.algorithm.name(), self.algorithm.name());
            tracing::info!(from, to, "access tokens are signed with another algorithm");
            self.replace(active, "COUNTERSIGN_TOKEN_ALG").await?;
        }
        Ok(())
    }

    /// Publishes a next key if there is none, so that verifiers know it when it signs.
    async fn ensure_next(&self) -> Result<()> {
        let keys = self.list().await?;
        if !keys.iter().any(|key| key.state == SigningKeyState::Next) {
            self.publish_next().await?;
        }
        Ok(())
    }

    /// Retires the active key at once and returns the one that signs instead: the next key, or a new
    /// one if there is none. If another process did so right now, that was enough. Another next key is
    /// published.
    ///
    /// # Errors
    /// The store's errors.
    pub async fn rotate(&self, by: &str) -> Result<SigningKeyInfo> {
        let active = self.ensure_active().await?;
        self.replace(&active, by).await?;
        self.ensure_next().await?;
        self.active().await
    }

    async fn replace(&self, active: &SigningKeyInfo, by: &str) -> Result<()> {
        let new = self.make(SigningKeyState::Active)?;
        let successor = Successor::NextOr(&new);
        let now = self.clock.now();
        let replaced = self.store.replace_signing_key(&active.kid, successor, now);
        if replaced.await? {
            tracing::info!(retired = active.kid, by, "the signing key was rotated");
        }
        Ok(())
    }

    /// Publishes a next key; `false` if another process has.
    pub(super) async fn publish_next(&self) -> Result<bool> {
        let next = self.make(SigningKeyState::Next)?;
        let published = self.store.insert_next_signing_key(&next).await?;
        if published {
            tracing::info!(kid = next.id, "the next signing key is published");
        }
        Ok(published)
    }

    /// Makes the next key the active one; `false` if another process has.
    pub(super) async fn promote(&self, next: &str, active: &str) -> Result<bool> {
        let (successor, now) = (Successor::Next(next), self.clock.now());
        let promoted = self.store.replace_signing_key(active, successor, now);
        let promoted = promoted.await?;
        if promoted {
            tracing::info!(kid = next, retired = active, "the signing key was rotated");
        }
        Ok(promoted)
    }

    /// Revokes a key; if it signed, another one signs from now on. Returns the active key. If the next
    /// key was used up, another one is published.
    ///
    /// # Errors
    /// [`Error::SigningKeyNotFound`], and the store's errors.
    pub async fn revoke(&self, kid: &str, by: &str) -> Result<SigningKeyInfo> {
        let new = self.make(SigningKeyState::Active)?;
        let now = self.clock.now();
        match self.store.revoke_signing_key(kid, &new, now).await? {
            KeyRevocation::Unknown => return Err(Error::SigningKeyNotFound),
            KeyRevocation::Before => {}
            KeyRevocation::Now(state) => {
                tracing::warn!(
                    kid,
                    was = state.name(),
                    by,
                    "a signing key was revoked: its tokens are refused"
                );
            }
        }
        self.ensure_next().await?;
        self.active().await
    }

    async fn active(&self) -> Result<SigningKeyInfo> {
        let active = self.find_active().await?;
        active.ok_or_else(|| Error::internal("no signing key is active"))
    }

    async fn find_active(&self) -> Result<Option<SigningKeyInfo>> {
        let keys = self.list().await?;
        let is_active = |key: &SigningKeyInfo| key.state == SigningKeyState::Active;
        Ok(keys.into_iter().find(is_active))
    }

    /// A new key, not yet stored.
    fn make(&self, state: SigningKeyState) -> Result<SealedSigningKey> {
        let now = self.clock.now();
        let pkcs8 = SigningKey::generate_pkcs8(self.algorithm);
        let key = SigningKey::from_pkcs8(self.algorithm, &pkcs8)
            .ok_or_else(|| Error::internal("a new signing key cannot be read"))?;
        let sealed = self
            .keyring
            .seal(Purpose::SigningKeys, &context(key.kid()), &pkcs8);
        Ok(SealedSigningKey {
            id: key.kid().to_owned(),
            algorithm: self.algorithm,
            public_key: key.verify_key().public().to_vec(),
            private_key: sealed,
            state,
            create_time: now,
            activate_time: (state == SigningKeyState::Active).then_some(now),
            retire_time: None,
            revoke_time: None,
        })
    }

    /// Opens a stored key. The public key is derived from the sealed private key, because whoever can
    /// write to the database must not be able to add a public key of their own.
    pub(super) fn open(&self, stored: &SealedSigningKey) -> Result<SigningKey> {
        let pkcs8 = self
            .keyring
            .open(
                Purpose::SigningKeys,
                &context(&stored.id),
                &stored.private_key,
            )
            .map_err(|cause| cannot_open(&stored.id, &cause))?;
        let key = SigningKey::from_pkcs8(stored.algorithm, &pkcs8);
        let key = key
            .filter(|key| key.kid() == stored.id)
            .ok_or_else(|| StoreError::corrupt("signing_keys", "private_key", &stored.id))?;
        if stored.public_key != key.verify_key().public() {
            return Err(StoreError::corrupt("signing_keys", "public_key", &stored.id).into());
        }
        Ok(key)
    }

    /// Deletes keys that were retired or revoked so long ago.
    pub(super) async fn delete_ended(
        &self,
        retired: Timestamp,
        revoked: Timestamp,
    ) -> Result<bool> {
        let deleted = self.store.delete_ended_signing_keys(retired, revoked);
        Ok(deleted.await?)
    }
}

fn cannot_open(kid: &str, cause: &OpenError) -> Error {
    let remedy = if matches!(cause, OpenError::KeyUnknown(_)) {
        "; put that key back into COUNTERSIGN_ENCRYPTION_KEYS"
    } else {
        ""
    };
    Error::internal(format!(
        "the signing key {kid} cannot be opened: {cause}{remedy}"
    ))
}

/// What the seal of a private half is bound to.
pub(in crate::token) fn context(kid: &str) -> [&str; 3] {
    ["signing_keys", kid, "private_key"]
}
