//! Registers metrics.

use prometheus_client::registry::{Metric, Registry};

/// A new metric. The crate puts a full stop after `help`, and `_total` after a counter's name.
pub(super) fn register<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}
