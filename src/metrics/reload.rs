//! Files that are read again while the service runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;
use crate::clock::Timestamp;

label! {
    /// What is read again.
    File = "file" {
        Certificate = "certificate",
        ClientCa = "client_ca",
        Callers = "callers",
        LogFilter = "log_filter",
    }
}

label! {
    /// What came of reading it.
    ReadOutcome = "outcome" {
        /// It is what is in force.
        Unchanged = "unchanged",
        /// It has changed, and is in force now.
        Changed = "changed",
        /// It cannot be read or is wrong.
        Failed = "failed",
    }
}

/// What is counted of files that are read again.
#[derive(Debug)]
pub struct Reloads {
    reads: Cells<(File, ReadOutcome), Counter>,
    last_success: Cells<File, Moment>,
    expiry: Moment,
}

impl Reloads {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            reads: register(
                registry,
                "countersign_reload_reads",
                "How often files were read again, by what came of it",
            ),
            last_success: register(
                registry,
                "countersign_reload_last_success_timestamp_seconds",
                "When a file was last read and found to be good, in seconds since the Unix epoch",
            ),
            expiry: register(
                registry,
                "countersign_tls_certificate_expiry_timestamp_seconds",
                "When the certificate in force ends, in seconds since the Unix epoch",
            ),
        }
    }

    /// Notes what came of reading something.
    pub fn note(&self, file: File, outcome: ReadOutcome, now: Timestamp) {
        self.reads.of((file, outcome)).inc();
        if outcome != ReadOutcome::Failed {
            self.last_success.of(file).set(now);
        }
    }

    /// Notes when the certificate of the service ends.
    pub fn expires(&self, end: Timestamp) {
        self.expiry.set(end);
    }
}

/// A gauge of a moment, which is not shown before it is set. Clones share everything.
#[derive(Clone, Debug, Default)]
struct Moment(Arc<AtomicI64>);

impl Moment {
    fn set(&self, moment: Timestamp) {
        self.0.store(moment.secs(), Ordering::Relaxed);
    }
}

impl TypedMetric for Moment {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Moment {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_gauge(&self.0.load(Ordering::Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}
