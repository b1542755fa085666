//! A provider's signature keys, and ID tokens verified with them.

use std::time::Duration;

use openidconnect::core::CoreJsonWebKey;
use serde_json::Value;
use url::Url;

use super::super::fetch;
use super::super::requests::Requests;
use super::verify::{self, Expected, Rejected};
use crate::clock::{Clock, Timestamp};
use crate::error::{Cause, Error, Result};
use crate::http::Cached;
use crate::jose;
use crate::metrics::Asked;
use crate::provider::claims::VerifiedClaims;
use crate::secret::{ExposeSecret as _, SecretString};

/// How long keys are used before they are fetched again. As long as the provider answers, a key
/// that it withdraws is used for no longer than this.
const FRESH: Duration = Duration::from_mins(10);

/// The keys that a provider's `jwks_uri` published last.
pub(super) struct Keys(Cached<Vec<CoreJsonWebKey>>);

impl Keys {
    /// None yet; they are fetched at most once in `pause`.
    pub(super) fn new(clock: Clock, pause: Duration) -> Self {
        Self(Cached::new(clock, FRESH, pause))
    }

    /// Verifies an ID token. If its key is unknown, the keys are fetched again, unless that was
    /// done a moment ago.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`] if there are no keys and they cannot be fetched.
    pub(super) async fn verify(
        &self,
        requests: &Requests,
        jwks_uri: &Url,
        id_token: &SecretString,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Result<VerifiedClaims, Rejected>> {
        let id_token = id_token.expose_secret();
        let keys = self.0.get(fetch_keys(requests, jwks_uri)).await;
        let keys = keys.map_err(Error::ProviderUnavailable)?;
        match verify::verify(id_token, &keys, expected, now) {
            Err(Rejected::KeyUnknown) => {
                let fetch = fetch_keys(requests, jwks_uri);
                let newer = self.0.renew(Some(&keys), fetch).await;
                let newer = newer.map_err(Error::ProviderUnavailable)?;
                Ok(verify::verify(id_token, &newer, expected, now))
            }
            verified => Ok(verified),
        }
    }
}

async fn fetch_keys(requests: &Requests, jwks_uri: &Url) -> Result<Vec<CoreJsonWebKey>, Cause> {
    let body = fetch::json(requests, Asked::Keys, jwks_uri, None).await?;
    let keys = jose::provider_keys(&body)
        .ok_or("its jwks_uri does not return a JWK set of at most 100 keys")?;
    Ok(keys
        .into_iter()
        .filter_map(|key| serde_json::from_value(Value::Object(key)).ok())
        .collect())
}
