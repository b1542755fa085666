//! Traces, sent over OTLP by the SDK of OpenTelemetry, which also reads some of its variables.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    Compression, SpanExporter as Exporter, WithExportConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};
use tokio::runtime::Handle;

use super::exporter::{BoundedProcessor, QueuedSpans, RuntimeExporter};
use super::losses::Losses;
use crate::clock::Clock;
use crate::config::{self, Collector, Traces};
use crate::secret::{ExposeSecret as _, random};
use crate::trace;

const SERVICE_NAME: &str = "service.name";
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
    let limits = &traces.limits;
    let waiting = Arc::new(QueuedSpans::new(limits.queue));
    let exporter = RuntimeExporter {
        collector: Arc::new(exporter(&traces.collector, runtime)?),
        runtime: runtime.clone(),
        within: limits.export,
        waiting: Arc::clone(&waiting),
        losses: Arc::clone(&losses),
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(limits.queue)
        .with_max_export_batch_size(limits.batch)
        .with_scheduled_delay(limits.delay);
    let queue = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build());
    let processor = BoundedProcessor {
        queue: queue.build(),
        value_length: limits.value_length,
        waiting: Arc::clone(&waiting),
        losses: Arc::clone(&losses),
    };
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(traces))
        .with_sampler(sampler(traces.sampler))
        .with_max_attributes_per_span(limits.attributes)
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

fn exporter(collector: &Collector, runtime: &Handle) -> Result<Exporter, TraceError> {
    let _the_connection_is_a_task = runtime.enter();
    let mut builder = Exporter::builder()
        .with_tonic()
        .with_endpoint(collector.endpoint.as_str())
        .with_timeout(collector.timeout)
        .with_metadata(MetadataMap::from_headers(collector.headers.clone()));
    if collector.has_gzip {
        builder = builder.with_compression(Compression::Gzip);
    }
    if collector.endpoint.scheme() == "https" {
        builder = builder.with_tls_config(tls(collector));
    }
    builder.build().map_err(|_| TraceError)
}

fn tls(collector: &Collector) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new();
    let tls = match &collector.ca {
        Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        None => tls.with_native_roots(),
    };
    match &collector.identity {
        Some(own) => {
            let key = own.key.expose_secret();
            tls.identity(Identity::from_pem(&own.certificate, key))
        }
        None => tls,
    }
}

fn sampler(of: config::Sampler) -> Sampler {
    let root = Sampler::TraceIdRatioBased(of.ratio);
    if of.is_parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

/// What all spans say of this process. The SDK adds what it knows of itself, and does not decode
/// OTEL_RESOURCE_ATTRIBUTES.
fn resource(traces: &Traces) -> Resource {
    let attribute = |name: &str, value: &str| KeyValue::new(name.to_owned(), value.to_owned());
    let given = traces.resource.iter();
    let given = given.map(|(name, value)| attribute(name, value));
    let name = traces.service_name.as_ref();
    let name = name.map(|name| attribute(SERVICE_NAME, name));
    Resource::builder()
        .with_attributes([
            attribute(SERVICE_NAME, env!("CARGO_PKG_NAME")),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", &hex::encode(random::<16>())),
        ])
        .with_attributes(given)
        .with_attributes(name)
        .build()
}
