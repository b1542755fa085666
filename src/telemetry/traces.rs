//! Traces, sent over OTLP by the SDK of OpenTelemetry, which also reads some of its variables.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{SpanExporter as Collector, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::runtime::Handle;

use super::exporter::{BoundedProcessor, QueuedSpans, RuntimeExporter};
use super::losses::Losses;
use crate::clock::Clock;
use crate::config::{self, Traces};
use crate::secret::random;
use crate::trace;

const SERVICE_NAME: &str = "service.name";
/// What the SDK calls a service that nobody named.
const UNNAMED: &str = "unknown_service";
/// How long the end of the process waits for the collector.
const END_WITHIN: Duration = Duration::from_secs(2);

/// Sends the spans that are left when it is dropped, unless that takes too long.
#[derive(Debug)]
#[must_use]
pub struct Tracing {
    provider: SdkTracerProvider,
    waiting: Arc<QueuedSpans>,
    losses: Arc<Losses>,
}

impl Tracing {
    /// How many spans were lost, which goes on to grow.
    pub fn lost_spans(&self) -> Arc<AtomicU64> {
        self.losses.count()
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _the_losses_tell = self.provider.shutdown_with_timeout(END_WITHIN);
        self.losses.finish(self.waiting.count());
    }
}

/// Traces calls from now on, and sends the spans as configured.
///
/// # Errors
/// If the connection cannot be set up. The collector is not asked for anything yet.
pub fn trace(traces: &Traces, runtime: &Handle) -> Result<Tracing, TraceError> {
    let losses = Arc::new(Losses::new(Clock::system()));
    let waiting = Arc::new(QueuedSpans::new(traces.queue));
    let exporter = RuntimeExporter {
        collector: Arc::new(collector(traces, runtime)?),
        runtime: runtime.clone(),
        waiting: Arc::clone(&waiting),
        losses: Arc::clone(&losses),
    };
    let limits = BatchConfigBuilder::default()
        .with_max_queue_size(traces.queue)
        .with_max_export_batch_size(traces.batch)
        .with_scheduled_delay(traces.delay);
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(limits.build());
    let processor = BoundedProcessor {
        queue: queue.build(),
        waiting: Arc::clone(&waiting),
        losses: Arc::clone(&losses),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(sampler(traces.sampler))
        .with_span_processor(processor)
        .build();
    trace::start(BoxedTracer::new(Box::new(
        provider.tracer(env!("CARGO_PKG_NAME")),
    )));
    Ok(Tracing {
        provider,
        waiting,
        losses,
    })
}

/// The traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: the connection to the collector cannot be set up; https needs the certificates of the system, or those of a PEM file that OTEL_EXPORTER_OTLP_CERTIFICATE names",
    Traces::ENDPOINT
)]
pub struct TraceError;

fn collector(traces: &Traces, runtime: &Handle) -> Result<Collector, TraceError> {
    let _the_connection_is_a_task = runtime.enter();
    let mut builder = Collector::builder()
        .with_tonic()
        .with_endpoint(traces.endpoint.as_str())
        .with_timeout(traces.timeout);
    if traces.endpoint.scheme() == "https" {
        let tls = ClientTlsConfig::new();
        builder = builder.with_tls_config(match &traces.ca {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        });
    }
    builder.build().map_err(|_| TraceError)
}

fn sampler(of: config::Sampler) -> Sampler {
    let root = Sampler::TraceIdRatioBased(of.ratio);
    if of.is_parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

/// What all spans say of this process. The variables of the SDK win.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let name = given.get(&Key::from_static_str(SERVICE_NAME));
    let is_unnamed = name.is_none_or(|name| name.as_str().starts_with(UNNAMED));
    let given = given.iter();
    let mut whole = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            hex::encode(random::<16>()),
        ))
        .with_attributes(given.map(|(name, value)| KeyValue::new(name.clone(), value.clone())));
    if is_unnamed {
        whole = whole.with_service_name(env!("CARGO_PKG_NAME"));
    }
    whole.build()
}
