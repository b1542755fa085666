//! How much of a span is kept, how many spans wait, and for how long.

use std::time::Duration;

use super::variables::Variables;

/// The SDK's own defaults.
const QUEUE: u32 = 2048;
const BATCH: u32 = 512;
const DELAY_MILLIS: u32 = 5000;
const ATTRIBUTES: u32 = 128;
/// The most spans that may wait.
const LARGEST_QUEUE: u32 = 65_536;
const LONGEST_DELAY_MILLIS: u32 = 3_600_000;
/// The longest that a batch may take, which is the default too.
const LONGEST_EXPORT_MILLIS: u32 = 30_000;

/// Limits of spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// OTEL_BSP_MAX_QUEUE_SIZE: how many spans may wait.
    pub queue: usize,
    /// OTEL_BSP_MAX_EXPORT_BATCH_SIZE: how many spans are sent at once.
    pub batch: usize,
    /// OTEL_BSP_SCHEDULE_DELAY: how often they are sent.
    pub delay: Duration,
    /// OTEL_BSP_EXPORT_TIMEOUT: how long sending them may take, with the connection that it needs.
    pub export: Duration,
    /// OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT, or else OTEL_ATTRIBUTE_COUNT_LIMIT: how many attributes a
    /// span may have.
    pub attributes: u32,
    /// OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT, or else OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT: how many
    /// characters the text of an attribute may have.
    pub value_length: Option<usize>,
}

pub(super) fn read(v: &mut Variables<'_, '_>) -> Limits {
    let any = 0..=u32::MAX;
    let delay = v.number(&["OTEL_BSP_SCHEDULE_DELAY"], 1..=LONGEST_DELAY_MILLIS);
    let export = v.number(&["OTEL_BSP_EXPORT_TIMEOUT"], 1..=LONGEST_EXPORT_MILLIS);
    let queue = v.number(&["OTEL_BSP_MAX_QUEUE_SIZE"], 1..=LARGEST_QUEUE);
    let batch = v.number(&["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 1..=LARGEST_QUEUE);
    let attributes = [
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_COUNT_LIMIT",
    ];
    let attributes = v.number(&attributes, any.clone());
    let value_length = [
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    ];
    let value_length = v.number(&value_length, any.clone());
    // Spans have neither events nor links, so every number is kept.
    for name in [
        "OTEL_SPAN_EVENT_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    ] {
        v.number(&[name], any.clone());
    }
    let millis =
        |given: Option<u32>, default| Duration::from_millis(given.unwrap_or(default).into());
    Limits {
        queue: queue.unwrap_or(QUEUE) as usize,
        batch: batch.unwrap_or(BATCH) as usize,
        delay: millis(delay, DELAY_MILLIS),
        export: millis(export, LONGEST_EXPORT_MILLIS),
        attributes: attributes.unwrap_or(ATTRIBUTES),
        value_length: value_length.map(|length| length as usize),
    }
}
