//! How the collector is reached.

use std::path::Path;
use std::time::Duration;

use http::HeaderMap;
use rustls::RootCertStore;
use url::Url;

use super::super::file;
use super::super::urls;
use super::pairs;
use super::variables::{Variable, Variables, word};
use crate::secret::{PairFault, SecretString, certificates, certified};

/// The variable that switches traces on.
pub(super) const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TIMEOUT_MILLIS: u32 = 10_000;
const LONGEST_TIMEOUT_MILLIS: u32 = 30_000;

/// The collector, and what it is told.
#[derive(Debug)]
pub struct Collector {
    /// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or else OTEL_EXPORTER_OTLP_ENDPOINT.
    pub endpoint: Url,
    /// OTEL_EXPORTER_OTLP_TRACES_HEADERS, or else OTEL_EXPORTER_OTLP_HEADERS.
    pub headers: HeaderMap,
    /// OTEL_EXPORTER_OTLP_TRACES_COMPRESSION, or else OTEL_EXPORTER_OTLP_COMPRESSION: whether
    /// requests are compressed by gzip.
    pub has_gzip: bool,
    /// The content of OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE, or else of
    /// OTEL_EXPORTER_OTLP_CERTIFICATE: whom to trust instead of the system's authorities.
    pub ca: Option<String>,
    /// What the collector knows the service by.
    pub identity: Option<Identity>,
    /// OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, or else OTEL_EXPORTER_OTLP_TIMEOUT: how long the collector
    /// may take to answer.
    pub timeout: Duration,
}

/// A certificate and its key, as PEM.
#[derive(Debug)]
pub struct Identity {
    /// The content of OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE, or else of
    /// OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE.
    pub certificate: String,
    /// The content of OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY, or else of
    /// OTEL_EXPORTER_OTLP_CLIENT_KEY.
    pub key: SecretString,
}

/// Reads the variables; `None` if the address of the collector is wrong or absent.
pub(super) fn read(v: &mut Variables<'_, '_>, endpoint: Option<Variable>) -> Option<Collector> {
    let protocol = [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    v.read(&protocol, |text| word(text, "grpc", "must be grpc"));
    let endpoint = v.parse(endpoint, url);
    let headers = [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ];
    let headers = v.read(&headers, pairs::headers);
    let compression = [
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
    ];
    let has_gzip = v.read(&compression, |text| {
        match text.to_ascii_lowercase().as_str() {
            "gzip" => Ok(true),
            "none" => Ok(false),
            _ => Err("must be gzip or none"),
        }
    });
    let ca = v.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]);
    let is_clear = |endpoint: &Url| endpoint.scheme() == "http";
    let is_clear = endpoint.as_ref().is_some_and(is_clear);
    warn_if(is_clear, v, ca.as_ref());
    let ca = v.parse(ca, authorities);
    let identity = identity(v, is_clear);
    let timeout = [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ];
    let timeout = v.number(&timeout, 1..=LONGEST_TIMEOUT_MILLIS);
    Some(Collector {
        endpoint: endpoint?,
        headers: headers.unwrap_or_default(),
        has_gzip: has_gzip.unwrap_or(false),
        ca,
        identity,
        timeout: Duration::from_millis(timeout.unwrap_or(TIMEOUT_MILLIS).into()),
    })
}

/// Warns of a variable for TLS if the connection is in clear text.
fn warn_if(is_clear: bool, v: &mut Variables<'_, '_>, variable: Option<&Variable>) {
    if let Some((name, _)) = variable.filter(|_| is_clear) {
        v.reader.warn(format!(
            "{name} has no effect: the collector's address begins with http://, so the spans are sent in clear text"
        ));
    }
}

fn identity(v: &mut Variables<'_, '_>, is_clear: bool) -> Option<Identity> {
    let certificate = v.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ]);
    let key = v.first(&[
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ]);
    warn_if(is_clear, v, certificate.as_ref());
    warn_if(is_clear, v, key.as_ref());
    match (certificate, key) {
        _ if is_clear => None,
        (Some(certificate), Some(key)) => read_identity(v, certificate, key),
        (Some((name, _)), None) => {
            v.reader
                .mistake(name, "needs OTEL_EXPORTER_OTLP_CLIENT_KEY: set both");
            None
        }
        (None, Some((name, _))) => {
            let both = "needs OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: set both";
            v.reader.mistake(name, both);
            None
        }
        (None, None) => None,
    }
}

fn read_identity(
    v: &mut Variables<'_, '_>,
    certificate: Variable,
    key: Variable,
) -> Option<Identity> {
    let (certificate_name, key_name) = (certificate.0, key.0);
    let certificate = v.parse(Some(certificate), text_of);
    let key = v.parse(Some(key), |path| text_of(path).map(SecretString::from));
    let identity = Identity {
        certificate: certificate?,
        key: key?,
    };
    let chain = certificates(&identity.certificate).map_err(PairFault::Certificate);
    match chain.and_then(|chain| certified(chain, &identity.key)) {
        Ok(_) => return Some(identity),
        Err(PairFault::Certificate(fault)) => v.reader.mistake(certificate_name, fault),
        Err(PairFault::Key(fault)) => v.reader.mistake(key_name, fault),
    }
    None
}

fn text_of(path: &str) -> Result<String, String> {
    let text = file::read_text(Path::new(path));
    text.map_err(|error| format!("names a file that cannot be read: {error}"))
}

/// Checked here, because the exporter would take a wrong file for one without authorities.
fn authorities(path: &str) -> Result<String, String> {
    let pem = text_of(path)?;
    let mut roots = RootCertStore::empty();
    let found = certificates(&pem).unwrap_or_default();
    if !found.is_empty() && found.into_iter().all(|found| roots.add(found).is_ok()) {
        Ok(pem)
    } else {
        Err("names a file that does not hold certificates of authorities as PEM".to_owned())
    }
}

fn url(text: &str) -> Result<Url, &'static str> {
    Url::parse(text).map_err(|_| "must be a URL such as http://collector:4317")?;
    let url = urls::base_url(text)?;
    if url.path() == "/" {
        Ok(url)
    } else {
        Err("must not contain a path: the spans are sent over gRPC")
    }
}
