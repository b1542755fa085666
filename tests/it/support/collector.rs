//! A collector of traces on a local socket, which keeps what it is sent.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use super::authority::{Authority, Pair};
use super::calls::settings_of;
use super::process::Process;

/// A collector; it ends with the test.
#[derive(Clone)]
pub struct Collector {
    pub endpoint: String,
    requests: Arc<Mutex<Vec<Received>>>,
}

/// A request, with the metadata that tests ask for.
#[derive(Clone)]
struct Received {
    key: String,
    encoding: String,
    request: ExportTraceServiceRequest,
}

impl Collector {
    pub async fn start() -> Self {
        Self::start_on(Server::builder(), "http://127.0.0.1").await
    }

    /// One that speaks TLS, as `localhost`.
    pub async fn with_certificate(pair: &Pair) -> Self {
        let identity = Identity::from_pem(pair.certificate(), pair.key());
        let tls = ServerTlsConfig::new().identity(identity);
        let server = Server::builder().tls_config(tls).expect("a pair");
        Self::start_on(server, "https://localhost").await
    }

    /// One that also asks for a certificate which this authority signed.
    pub async fn for_clients_of(authority: &Authority, pair: &Pair) -> Self {
        let identity = Identity::from_pem(pair.certificate(), pair.key());
        let tls = ServerTlsConfig::new()
            .identity(identity)
            .client_ca_root(Certificate::from_pem(authority.pem()));
        let server = Server::builder().tls_config(tls).expect("a pair");
        Self::start_on(server, "https://localhost").await
    }

    async fn start_on(mut server: Server, origin: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let endpoint = format!("{origin}:{port}");
        let collector = Self {
            endpoint,
            requests: Arc::default(),
        };
        let service = TraceServiceServer::new(collector.clone());
        let service = service.accept_compressed(CompressionEncoding::Gzip);
        let incoming = TcpListenerStream::new(listener);
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        collector
    }

    fn requests(&self) -> Vec<Received> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All spans, in the order of their ends.
    pub fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter();
        let resources = resources.flat_map(|one| one.request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect()
    }

    /// An attribute of the process that sent the first spans.
    pub fn resource(&self, name: &str) -> String {
        let request = self.requests().remove(0).request;
        let resource = request.resource_spans[0].resource.clone();
        value(&resource.expect("a resource").attributes, name)
    }

    /// The metadata `x-collector-key` of the first request.
    pub fn key(&self) -> String {
        self.requests().remove(0).key
    }

    /// How the first request was compressed; empty if it was not.
    pub fn encoding(&self) -> String {
        self.requests().remove(0).encoding
    }

    /// Everything that was sent, as text.
    pub fn content(&self) -> String {
        let requests = self.requests().into_iter();
        let bytes: Vec<_> = requests
            .flat_map(|one| one.request.encode_to_vec())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// An attribute as text; empty if it is not there.
pub fn attribute(span: &Span, name: &str) -> String {
    value(&span.attributes, name)
}

fn value(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|pair| pair.key == name);
    match found.and_then(|pair| pair.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{name} is {other:?}"),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let metadata = request.metadata();
        let values = |name: &str| {
            let values = metadata.get_all(name).iter();
            let values: Vec<_> = values.map(|one| one.to_str().expect("text")).collect();
            values.join(", ")
        };
        let received = Received {
            key: values("x-collector-key"),
            encoding: values("grpc-encoding"),
            request: request.get_ref().clone(),
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(received);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A process that sends its spans to the collector and lets users sign in at this issuer, with further
/// settings.
pub async fn with_provider(
    issuer: &str,
    collector: &Collector,
    further: &[(&str, &str)],
) -> Process {
    let settings = settings_of(issuer);
    let mut variables: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    variables.extend([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        ("ALLOW_SOCIAL_LOGIN", "true"),
    ]);
    variables.extend(further);
    Process::start(&variables).await
}
