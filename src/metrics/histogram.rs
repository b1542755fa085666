//! A histogram of durations without a lock: the crate's own has one, for which all calls would wait.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// The upper bounds of all buckets but the last, in microseconds: from a call that is answered from
/// memory to the longest that a call may take. No limit of time is a bound: what is cut off then ends
/// shortly after it, and would seem to have taken until the next bound.
const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 6_000_000, 12_000_000,
];
const MICROS: f64 = 1_000_000.0;
const NANOS: f64 = 1_000_000_000.0;

/// How many durations fell into each bucket, and their sum. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Arc<Observed>);

/// The sum lies beside the buckets of short durations, so that counting one of those writes a single
/// cache line.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Observed {
    nanos: AtomicU64,
    buckets: [AtomicU64; BOUNDS.len() + 1],
}

impl Histogram {
    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound.saturating_mul(1000) < nanos);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        let buckets = self.0.buckets.each_ref();
        buckets.map(|bucket| bucket.load(Ordering::Relaxed))
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    #[expect(
        clippy::cast_precision_loss,
        reason = "bounds are small, and the sum is exact for 104 days"
    )]
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / MICROS);
        let counts = self.counts();
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        let sum = self.0.nanos.load(Ordering::Relaxed) as f64 / NANOS;
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    /// Labels under which nothing was observed are left out: there are many of them.
    fn is_empty(&self) -> bool {
        self.counts().iter().all(|count| *count == 0)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_whose_bound_it_does_not_exceed() {
        let (mut registry, durations) = (Registry::default(), Histogram::default());
        registry.register("d", "Durations", durations.clone());
        for micros in [0, 100, 101, 20_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("encoded");
        for line in [
            "d_bucket{le=\"0.0001\"} 2",
            "d_bucket{le=\"0.00025\"} 3",
            "d_bucket{le=\"12\"} 3",
            "d_bucket{le=\"+Inf\"} 4",
            "d_sum 20.000201",
            "d_count 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
