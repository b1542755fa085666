//! The log, and the spans of traces.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::register::register;

/// What is counted of the log and of traces.
#[derive(Debug)]
pub struct Telemetry {
    lost: ExternalCounter,
    lost_spans: ExternalCounter,
}

impl Telemetry {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            lost: register(
                registry,
                "countersign_log_lines_lost",
                "Lines of the log that found no room or could not be written",
            ),
            lost_spans: register(
                registry,
                "countersign_trace_spans_lost",
                "Spans that found no room or could not be sent; not those that the collector rejected",
            ),
        }
    }

    /// Shows the log's own count of lost lines, which begins before there are metrics.
    pub fn follow(&self, lost: Arc<AtomicU64>) {
        let _followed_already = self.lost.0.set(lost);
    }

    /// Shows the count of lost spans, likewise.
    pub fn follow_spans(&self, lost: Arc<AtomicU64>) {
        let _followed_already = self.lost_spans.0.set(lost);
    }
}

/// A counter that is kept elsewhere; zero until it is known where.
#[derive(Clone, Debug, Default)]
struct ExternalCounter(Arc<OnceLock<Arc<AtomicU64>>>);

impl EncodeMetric for ExternalCounter {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let count = self
            .0
            .get()
            .map_or(0, |count| count.load(Ordering::Relaxed));
        encoder.encode_counter::<NoLabelSet, u64, f64>(&count, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
