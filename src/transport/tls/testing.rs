//! TLS for tests.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, crypto, sign};

use super::material::{Certified, ClientCa};
use super::{H2, Tls};
use crate::clock::{Clock, Timestamp};

/// An authority, TLS with one of its certificates, and a client that is known by another one.
pub(in crate::transport) struct Testing {
    pub clock: Clock,
    pub tls: Tls,
    pub client: ClientConfig,
}

/// The last second of the client's certificate.
pub(in crate::transport) fn end() -> Timestamp {
    Timestamp::from_secs(4_102_444_800)
}

impl Testing {
    /// The time of the service is 2099, when the client's certificate ends with the year.
    pub fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_secs(4_090_000_000));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        let (certificate, private) = issue(&authority);
        let key = crypto::aws_lc_rs::sign::any_supported_type(&private).expect("a key");
        let certified = Certified::of(sign::CertifiedKey::new(vec![certificate], key), end());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).expect("an authority");
        let client_ca = ClientCa::of(vec![authority.der().clone()], clock.now());
        let client_ca = client_ca.expect("an authority");
        let tls = Tls::new(&certified, Some(client_ca), clock.clone()).expect("TLS");
        let (certificate, private) = issue(&authority);
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("supported")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], private)
            .expect("a pair");
        client.alpn_protocols = vec![H2.to_vec()];
        Self { clock, tls, client }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn issue(
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = key();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.not_after = date_time_ymd(2100, 1, 1);
    let certificate = params.signed_by(&key, authority).expect("signed");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    (certificate.der().clone(), private)
}
