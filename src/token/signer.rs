//! What access tokens are signed with: a ring of keys, or a secret that others know too.

use std::sync::Arc;

use super::outage::Outage;
use super::signing_keys::{Jwks, Key, Refused, SigningKeys};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::jose::{AccessClaims, Expected, Rejected, SharedKey, verify_shared_access};

/// Signs and verifies access tokens.
#[derive(Debug)]
pub(super) enum Signer {
    Keys(SigningKeys),
    /// LibreChat's JWT_SECRET; its set of public keys is empty.
    Secret(Box<SharedKey>, Arc<Jwks>),
}

/// The key that a token was signed with; `None` is the secret.
pub(super) type SignedWith = Option<Arc<Key>>;

impl Signer {
    pub(super) fn by_secret(key: SharedKey) -> Result<Self> {
        let public = Jwks::empty("HS256")?;
        Ok(Self::Secret(Box::new(key), Arc::new(public)))
    }

    /// The ring.
    ///
    /// # Errors
    /// [`Error::SigningKeysUnused`] if there is none.
    pub(super) fn keys(&self) -> Result<&SigningKeys> {
        match self {
            Self::Keys(keys) => Ok(keys),
            Self::Secret(..) => Err(Error::SigningKeysUnused),
        }
    }

    /// Whether tokens have LibreChat's claims.
    pub(super) const fn is_librechats(&self) -> bool {
        matches!(self, Self::Secret(..))
    }

    /// The public keys of all tokens that are accepted.
    pub(super) fn jwks(&self) -> Arc<Jwks> {
        match self {
            Self::Keys(keys) => keys.jwks(),
            Self::Secret(_, public) => Arc::clone(public),
        }
    }

    pub(super) fn sign(&self, claims: &AccessClaims) -> (String, SignedWith) {
        match self {
            Self::Keys(keys) => {
                let key = keys.active();
                (key.sign(claims), Some(key))
            }
            Self::Secret(key, _) => (key.sign(claims), None),
        }
    }

    /// Verifies a token with what is in memory.
    pub(super) fn verify(
        &self,
        token: &str,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<(AccessClaims, SignedWith), Refused> {
        match self {
            Self::Keys(keys) => {
                let (claims, key) = keys.verify(token, expected, now)?;
                Ok((claims, Some(key)))
            }
            Self::Secret(key, _) => match verify_shared_access(token, key, expected, now) {
                Ok(claims) => Ok((claims, None)),
                Err(Rejected::Expired(claims)) => Err(Refused::Expired(claims)),
                Err(Rejected::Invalid) => Err(Refused::Invalid),
            },
        }
    }

    /// As [`SigningKeys::catch_up`].
    pub(super) async fn catch_up(&self, outage: Outage) -> Result<()> {
        match self {
            Self::Keys(keys) => keys.catch_up(outage).await,
            Self::Secret(..) => Ok(()),
        }
    }

    /// As [`SigningKeys::read_in_time`].
    pub(super) async fn read_in_time(&self) -> Result<()> {
        match self {
            Self::Keys(keys) => keys.read_in_time().await,
            Self::Secret(..) => Ok(()),
        }
    }
}

/// Whether tokens of this key are refused.
pub(super) fn is_refused(key: &SignedWith) -> bool {
    key.as_ref().is_some_and(|key| key.is_refused())
}
