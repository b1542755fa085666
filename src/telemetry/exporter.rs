//! Between the SDK and the collector: what waits is bounded, a collector that says nothing is not
//! waited for, and what is lost is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_otlp::SpanExporter as Collector;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::losses::Losses;

/// Why spans were lost if no batch was.
const QUEUE_FULL: &str = "the queue is full";

/// The spans that wait, or are being sent.
#[derive(Debug)]
pub(super) struct QueuedSpans {
    count: AtomicUsize,
    most: usize,
}

impl QueuedSpans {
    /// Room for so many.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            most,
        }
    }

    fn enter(&self) -> bool {
        let fits = self.count.fetch_add(1, Ordering::Relaxed) < self.most;
        if !fits {
            self.leave(1);
        }
        fits
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn leave(&self, count: usize) {
        self.count.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Gives ended spans to the SDK's queue while it has room.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P> {
    pub queue: P,
    /// How many characters the text of an attribute may have.
    pub value_length: Option<usize>,
    pub waiting: Arc<QueuedSpans>,
    pub losses: Arc<Losses>,
}

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, mut span: SpanData) {
        if self.waiting.enter() {
            if let Some(length) = self.value_length {
                shorten(&mut span.attributes, length);
            }
            self.queue.on_end(span);
        } else {
            // Logged at the next batch, because a call ends here.
            self.losses.add(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// Leaves so many characters of each text.
fn shorten(attributes: &mut [KeyValue], length: usize) {
    for attribute in attributes {
        if let Value::String(text) = &attribute.value
            && let Some((end, _)) = text.as_str().char_indices().nth(length)
        {
            attribute.value = text.as_str()[..end].to_owned().into();
        }
    }
}

/// Sends batches in tasks of the runtime, because the SDK's own thread has no timers.
#[derive(Debug)]
pub(super) struct RuntimeExporter {
    pub collector: Arc<Collector>,
    pub runtime: Handle,
    /// How long one batch may take. The SDK's own limit counts from when the request is sent.
    pub within: Duration,
    pub waiting: Arc<QueuedSpans>,
    pub losses: Arc<Losses>,
}

impl SpanExporter for RuntimeExporter {
    /// Always succeeds: the losses are counted here.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (count, collector) = (batch.len(), Arc::clone(&self.collector));
        let within = self.within;
        let sending = async move { timeout(within, collector.export(batch)).await };
        let failure = match self.runtime.spawn(sending).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(_)) | Err(_) => Some("the collector did not answer in time".to_owned()),
        };
        if failure.is_some() {
            self.losses.add(count);
        }
        self.waiting.leave(count);
        self.losses.tell(failure.as_deref().unwrap_or(QUEUE_FULL));
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.collector.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        // Nothing is sent yet, so nobody else holds it.
        if let Some(collector) = Arc::get_mut(&mut self.collector) {
            collector.set_resource(resource);
        }
    }
}
