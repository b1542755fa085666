//! The keys that access tokens are signed with.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::jose::{Algorithm, SigningKey, VerifyKey};
use crate::model::signing_key::{SealedSigningKey, SigningKeyState};
use crate::secret::{Keyring, OpenError, Purpose};
use crate::store::{Store, StoreError};

/// The active key, and the public keys of all whose tokens are accepted.
#[derive(Debug)]
pub(super) struct SigningKeys {
    active: SigningKey,
    known: HashMap<String, VerifyKey>,
}

impl SigningKeys {
    /// Reads the keys, and creates the first one in a new store. If several processes start at
    /// once, all of them use the key that was stored first.
    pub(super) async fn load(store: &Store, keyring: &Keyring, now: Timestamp) -> Result<Self> {
        let mut stored = store.list_signing_keys().await?;
        if !stored.iter().any(is_active) {
            make_first(store, keyring, now).await?;
            stored = store.list_signing_keys().await?;
        }
        let (mut active, mut known) = (None, HashMap::new());
        for stored in stored {
            let key = open(keyring, &stored)?;
            known.insert(stored.id.clone(), key.verify_key().clone());
            if is_active(&stored) {
                active = Some(key);
            }
        }
        Ok(Self {
            active: active.ok_or_else(|| Error::internal("no signing key is active"))?,
            known,
        })
    }

    pub(super) fn active(&self) -> &SigningKey {
        &self.active
    }

    pub(super) fn find(&self, kid: &str) -> Option<&VerifyKey> {
        self.known.get(kid)
    }
}

/// Opens a stored key. The public key is derived from the sealed private key, because whoever can
/// write to the database must not be able to add a public key of their own.
fn open(keyring: &Keyring, stored: &SealedSigningKey) -> Result<SigningKey> {
    let pkcs8 = keyring
        .open(
            Purpose::SigningKeys,
            &context(&stored.id),
            &stored.private_key,
        )
        .map_err(|cause| cannot_open(&stored.id, &cause))?;
    let key = SigningKey::from_pkcs8(Algorithm::EdDsa, &pkcs8).filter(|key| key.kid() == stored.id);
    let key = key.ok_or_else(|| StoreError::corrupt("signing_keys", "private_key", &stored.id))?;
    if stored.public_key != key.verify_key().public() {
        return Err(StoreError::corrupt("signing_keys", "public_key", &stored.id).into());
    }
    Ok(key)
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

async fn make_first(store: &Store, keyring: &Keyring, now: Timestamp) -> Result<()> {
    let pkcs8 = SigningKey::generate_pkcs8(Algorithm::EdDsa);
    let key = SigningKey::from_pkcs8(Algorithm::EdDsa, &pkcs8)
        .ok_or_else(|| Error::internal("a new signing key cannot be read"))?;
    let sealed = keyring.seal(Purpose::SigningKeys, &context(key.kid()), &pkcs8);
    store
        .insert_active_signing_key(key.kid(), key.verify_key().public(), &sealed, now)
        .await?;
    Ok(())
}

/// What the private half of a key is bound to.
pub(super) fn context(kid: &str) -> [&str; 3] {
    ["signing_keys", kid, "private_key"]
}

fn is_active(key: &SealedSigningKey) -> bool {
    key.state == SigningKeyState::Active
}
