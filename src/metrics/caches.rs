//! Caches that are bounded by the memory that they occupy.

use std::fmt;
use std::sync::OnceLock;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// What is cached.
    Cache = "cache" {
        /// Verified access tokens with their sessions.
        Tokens = "tokens",
        /// Decrypted tokens of providers.
        ProviderTokens = "provider_tokens",
    }
}

/// What is measured of caches.
#[derive(Debug)]
pub struct Caches {
    entries: Cells<Cache, Followed>,
    bytes: Cells<Cache, Followed>,
    most: Cells<Cache, Followed>,
}

/// A gauge whose value is asked for when it is shown; zero until it is known whom to ask.
#[derive(Default)]
struct Followed(OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>);

impl Caches {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            entries: register(
                registry,
                "countersign_cache_entries",
                "Entries of the caches whose memory is bounded",
            ),
            bytes: register(
                registry,
                "countersign_cache_bytes",
                "Memory that the entries of a cache occupy, as estimated when they were made",
            ),
            most: register(
                registry,
                "countersign_cache_bytes_max",
                "How much memory the entries of a cache may occupy",
            ),
        }
    }

    /// Shows a cache: how many entries it has, how many bytes they occupy, and how many they may.
    pub fn follow(
        &self,
        cache: Cache,
        entries: impl Fn() -> u64 + Send + Sync + 'static,
        bytes: impl Fn() -> u64 + Send + Sync + 'static,
        most: u64,
    ) {
        self.entries.of(cache).follow(entries);
        self.bytes.of(cache).follow(bytes);
        self.most.of(cache).follow(move || most);
    }
}

impl Followed {
    fn follow(&self, value: impl Fn() -> u64 + Send + Sync + 'static) {
        let _followed_already = self.0.set(Box::new(value));
    }
}

impl TypedMetric for Followed {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Followed {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let value = self.0.get().map_or(0, |value| value());
        encoder.encode_gauge(&value)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").finish_non_exhaustive()
    }
}
