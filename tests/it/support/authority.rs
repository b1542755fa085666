//! Certificates: an authority that signs them, the files that a service reads, and clients that
//! speak TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::clock::{Clock, Timestamp};
use hyper_util::rt::TokioIo;
use rcgen::date_time_ymd;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use super::mount::Mount;

/// A certificate of X.509 version 1.
pub const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBJDCBywIUWdTMR9k0Cz1IZmP1quk6CbvKvmkwCgYIKoZIzj0EAwIwFDESMBAG\n\
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODIxMzkzN1oYDzIxMjYxMTA0MjEzOTM3\n\
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AAQjKUb4ceCxERfMIIXc5CA2UY105lBiAfVU4Y3fGSNV1Y2FmfQWc4801HXACZ1b\n\
+CcRP+TMpuPEl/JU+X7rdmppMAoGCCqGSM49BAMCA0gAMEUCIA5wdn6n0I8k50t4\n\
1I3LjO6PlmqEIECe5MyCLsxYGvVJAiEAkxMw/PGdqk2A9pcvY9K1f1R/m2hB3S78\n\
sAqJx/0HGmE=\n\
-----END CERTIFICATE-----\n";
pub const DAY: Duration = Duration::from_hours(24);

/// Whom the service and its callers trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Pair {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        Self::until(Clock::system().now().plus(100 * DAY))
    }

    pub fn until(end: Timestamp) -> Self {
        Self::valid(end.minus(1000 * DAY), end)
    }

    pub fn valid(from: Timestamp, to: Timestamp) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(from);
        params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(to);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate of the service.
    pub fn server(&self) -> Pair {
        let now = Clock::system().now();
        self.issue(&["localhost"], now.minus(DAY), now.plus(DAY))
    }

    /// A certificate of a caller that ends in a day.
    pub fn caller(&self, names: &[&str]) -> Pair {
        let now = Clock::system().now();
        self.issue(names, now.minus(DAY), now.plus(DAY))
    }

    /// A certificate for these names; those with a colon are URIs.
    pub fn issue(&self, names: &[&str], from: Timestamp, to: Timestamp) -> Pair {
        let mut params = CertificateParams::default();
        let san = |name: &&str| {
            let text = (*name).try_into().expect("ASCII");
            if name.contains(':') {
                SanType::URI(text)
            } else {
                SanType::DnsName(text)
            }
        };
        params.subject_alt_names = names.iter().map(san).collect();
        params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(from);
        params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(to);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Pair {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }
}

impl Pair {
    pub fn certificate(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub fn key(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    /// The configuration of a server that shows this certificate.
    pub fn server_config(&self) -> ServerConfig {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key.clone()).expect("a key");
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key)
            .expect("a pair")
    }
}

/// What to add to 1970.
fn since_epoch(at: Timestamp) -> Duration {
    Duration::from_secs(at.secs().try_into().expect("after 1970"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// The files of TLS.
pub struct Mounted(Mount);

impl Mounted {
    pub fn new(pair: &Pair, client_ca: &Authority) -> Self {
        let (certificate, key, ca) = (pair.certificate(), pair.key(), client_ca.pem());
        let files = [("cert", &*certificate), ("key", &key), ("ca", &ca)];
        Self(Mount::new(&files))
    }

    /// Replaces all files at once.
    pub fn swap(&self, pair: &Pair, client_ca: &Authority) {
        self.swap_texts(&pair.certificate(), &pair.key(), &client_ca.pem());
    }

    pub fn swap_texts(&self, certificate: &str, key: &str, client_ca: &str) {
        let files = [("cert", certificate), ("key", key), ("ca", client_ca)];
        self.0.swap(&files);
    }

    /// The settings that name the certificate and its key.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("COUNTERSIGN_TLS_CERT", self.0.path("cert")),
            ("COUNTERSIGN_TLS_KEY", self.0.path("key")),
        ]
    }

    /// The setting that names the authorities of callers.
    pub fn client_ca(&self) -> (&'static str, String) {
        ("COUNTERSIGN_TLS_CLIENT_CA", self.0.path("ca"))
    }
}

/// A client that trusts the authority, and is known by the certificate.
pub fn config(
    authority: &Authority,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).expect("an authority");
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("supported")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let key = PrivateKeyDer::try_from(own.key.clone()).expect("a key");
            let chain = vec![own.certificate.clone()];
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A client of the newest version.
pub fn newest(authority: &Authority, own: Option<&Pair>) -> ClientConfig {
    config(authority, own, &[&rustls::version::TLS13])
}

/// A connection that speaks TLS and nothing above it.
pub async fn shake_hands(
    address: SocketAddr,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

/// Whether the service shows this certificate to a new connection.
pub async fn shows(address: SocketAddr, authority: &Authority, pair: &Pair) -> bool {
    let stream = shake_hands(address, newest(authority, None)).await;
    let stream = stream.expect("shaken");
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().expect("a certificate");
    shown[0] == pair.certificate
}

/// A connection of a gRPC client.
pub async fn connect(
    address: SocketAddr,
    config: ClientConfig,
) -> Result<Channel, tonic::transport::Error> {
    let connect = tower::service_fn(move |_| {
        let config = config.clone();
        async move { shake_hands(address, config).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
}
