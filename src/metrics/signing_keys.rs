//! The signing keys.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// What a key is used for.
    KeyState = "state" {
        Next = "next",
        Active = "active",
        Retired = "retired",
        Revoked = "revoked",
    }
}

label! {
    /// What this process did to the keys.
    KeyChange = "change" {
        /// It made the next key.
        Published = "published",
        /// It let another key sign.
        Rotated = "rotated",
        Revoked = "revoked",
        /// It deleted keys whose tokens have expired.
        Deleted = "deleted",
    }
}

/// What is counted of signing keys.
#[derive(Debug)]
pub struct SigningKeys {
    pub keys: Cells<KeyState, Gauge>,
    /// When the active key began to sign, in seconds since the Unix epoch.
    pub active_since: Gauge,
    /// For how long a key signs, in seconds.
    pub rotation: Gauge,
    pub changes: Cells<KeyChange, Counter>,
}

impl SigningKeys {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            keys: register(
                registry,
                "countersign_signing_keys",
                "The signing keys in the database",
            ),
            active_since: register(
                registry,
                "countersign_signing_key_activation_timestamp_seconds",
                "When the active signing key began to sign, in seconds since the Unix epoch; 0 if there are no signing keys",
            ),
            rotation: register(
                registry,
                "countersign_signing_key_rotation_seconds",
                "For how long a signing key signs before it is rotated; 0 if there are no signing keys",
            ),
            changes: register(
                registry,
                "countersign_signing_key_changes",
                "What this process did to the signing keys",
            ),
        }
    }
}
