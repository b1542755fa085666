//! Who signed in, verified.

use std::fmt;

use serde_json::{Map, Value};

use super::authentication::authentication;
use super::carry_over::carry_over;
use crate::clock::Timestamp;
use crate::config::providers::ClaimNames;
use crate::model::session::Authentication;

/// The claims of a user whom a provider has confirmed. Each kind of provider makes them only after
/// all of its checks.
#[derive(Clone, PartialEq)]
pub struct VerifiedClaims {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) expire_time: Timestamp,
    pub(super) members: Map<String, Value>,
}

impl VerifiedClaims {
    /// `iss`, which is the pinned issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `exp` of the ID token.
    pub fn expire_time(&self) -> Timestamp {
        self.expire_time
    }

    /// These claims of a refresh, with what is kept of those known before.
    pub(super) fn after(mut self, known: &Map<String, Value>, names: &ClaimNames) -> Self {
        self.members = carry_over(known, self.members, names);
        self
    }

    /// How and when the user authenticated at the provider.
    pub fn authentication(&self) -> Authentication {
        authentication(&self.members)
    }

    /// All claims.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }
}

/// Claims are personal data, so they must not appear in logs.
impl fmt::Debug for VerifiedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedClaims").finish_non_exhaustive()
    }
}
