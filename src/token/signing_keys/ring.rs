//! The signing keys in memory, as they were at one moment.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::jose::{AccessClaims, PublicJwk, SigningKey, VerifyKey};
use crate::model::signing_key::{SealedSigningKey, SigningKeyInfo, SigningKeyState};
use crate::secret;

/// A key whose tokens are accepted until it is refused. What was verified with it holds it, so that its
/// tokens are refused without a look-up.
pub(in crate::token) struct Key {
    signing: SigningKey,
    refused: AtomicBool,
}

/// The keys.
#[derive(Debug)]
pub(super) struct Ring {
    active: Arc<Key>,
    /// It signs once the active one is refused: whoever revoked that made it the active one.
    next: Option<Arc<Key>>,
    /// The keys whose tokens are accepted.
    accepted: HashMap<String, Arc<Key>>,
    /// Those whose tokens are not.
    revoked: HashSet<String>,
    /// What is told of all of them.
    pub infos: Vec<SigningKeyInfo>,
    pub jwks: Arc<Jwks>,
}

/// The public keys of all tokens that are accepted, as JSON (RFC 7517 section 5).
#[derive(Debug, PartialEq, Eq)]
pub struct Jwks {
    pub json: String,
    /// Changes with the text.
    pub etag: String,
    /// The algorithms of the keys, each once.
    pub algorithms: Vec<&'static str>,
}

/// What is known of a `kid`.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    Key(&'a Arc<Key>),
    Revoked,
    Unknown,
}

impl Key {
    fn new(signing: SigningKey) -> Arc<Self> {
        Arc::new(Self {
            signing,
            refused: AtomicBool::new(false),
        })
    }

    pub(in crate::token) fn sign(&self, claims: &AccessClaims) -> String {
        self.signing.sign(claims)
    }

    pub(super) fn verify_key(&self) -> &VerifyKey {
        self.signing.verify_key()
    }

    /// Whether its tokens are refused.
    pub(in crate::token) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }

    fn refuse(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }
}

impl Ring {
    /// From the stored keys; those that are known are not opened again.
    pub(super) fn new(
        stored: &[SealedSigningKey],
        known: Option<&Self>,
        open: impl Fn(&SealedSigningKey) -> Result<SigningKey>,
    ) -> Result<Self> {
        let (mut active, mut next) = (None, None);
        let (mut accepted, mut revoked) = (HashMap::new(), HashSet::new());
        let mut jwks = Vec::new();
        for stored in stored {
            if stored.state == SigningKeyState::Revoked {
                revoked.insert(stored.id.clone());
                continue;
            }
            let known = known.and_then(|known| known.accepted.get(&stored.id));
            // After a restore a key may count again that was revoked.
            let key = match known.filter(|key| !key.is_refused()) {
                Some(key) => Arc::clone(key),
                None => Key::new(open(stored)?),
            };
            jwks.push(key.verify_key().jwk());
            match stored.state {
                SigningKeyState::Active => active = Some(Arc::clone(&key)),
                SigningKeyState::Next => next = Some(Arc::clone(&key)),
                SigningKeyState::Retired | SigningKeyState::Revoked => {}
            }
            accepted.insert(stored.id.clone(), key);
        }
        Ok(Self {
            active: active.ok_or_else(|| Error::internal("no signing key is active"))?,
            next,
            accepted,
            revoked,
            infos: stored.iter().map(SealedSigningKey::info).collect(),
            jwks: Arc::new(Jwks::new(&jwks)?),
        })
    }

    /// The key that signs.
    pub(super) fn active(&self) -> &Arc<Key> {
        let next = self.next.as_ref().filter(|next| !next.is_refused());
        next.filter(|_| self.active.is_refused())
            .unwrap_or(&self.active)
    }

    pub(super) fn find(&self, kid: &str) -> Found<'_> {
        match self.accepted.get(kid) {
            Some(key) => Found::Key(key),
            None if self.revoked.contains(kid) => Found::Revoked,
            None => Found::Unknown,
        }
    }

    /// Refuses the tokens of a key from now on.
    pub(super) fn refuse(&self, kid: &str) {
        if let Some(key) = self.accepted.get(kid) {
            key.refuse();
        }
    }

    /// Refuses the tokens of all keys that another ring does not have.
    pub(super) fn refuse_all_but(&self, other: &Self) {
        let gone = |kid: &&String| !other.accepted.contains_key(*kid);
        for kid in self.accepted.keys().filter(gone) {
            self.refuse(kid);
        }
    }
}

impl Jwks {
    /// The set of no keys, of tokens that are signed with a secret.
    pub(in crate::token) fn empty(algorithm: &'static str) -> Result<Self> {
        let algorithms = vec![algorithm];
        Ok(Self {
            algorithms,
            ..Self::new(&[])?
        })
    }

    fn new(keys: &[PublicJwk]) -> Result<Self> {
        #[derive(Serialize)]
        struct Set<'a> {
            keys: &'a [PublicJwk],
        }
        let json = serde_json::to_string(&Set { keys }).map_err(Error::internal)?;
        let etag = format!(
            "\"{}\"",
            &hex::encode(secret::sha256(json.as_bytes()))[..32]
        );
        let mut algorithms: Vec<_> = keys.iter().map(|key| key.alg).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        Ok(Self {
            json,
            etag,
            algorithms,
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.signing.kid())
            .finish_non_exhaustive()
    }
}
