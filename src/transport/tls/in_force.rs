//! What new connections are secured with.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, crypto};

use super::material::{Certified, ClientCa};
use crate::clock::Clock;

/// The only protocol that is spoken over TLS (RFC 9113 section 3.2).
pub(in crate::transport) const H2: &[u8] = b"h2";

/// How connections are secured. Clones share everything.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    clock: Clock,
    in_force: RwLock<InForce>,
    /// Counts the authorities that were in force, so that a connection notices that its peer has to
    /// be judged again.
    authorities: AtomicU64,
}

struct InForce {
    certified: Arc<CertifiedKey>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with this certificate. Callers may present certificates of the authorities, if there are
    /// any.
    ///
    /// # Errors
    /// If the crypto provider cannot speak TLS.
    pub fn new(
        certified: &Certified,
        client_ca: Option<&ClientCa>,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let certified = certified.key();
        let verifier = client_ca.map(ClientCa::verifier);
        let config = config(&certified, verifier.as_ref(), &clock)?;
        Ok(Self(Arc::new(Shared {
            clock,
            in_force: RwLock::new(InForce {
                certified,
                verifier,
                config,
            }),
            authorities: AtomicU64::new(0),
        })))
    }

    /// Replaces the certificate, for connections that begin from now on.
    ///
    /// # Errors
    /// As for [`Tls::new`]; then nothing is replaced.
    pub fn certify(&self, certified: &Certified) -> Result<(), rustls::Error> {
        let certified = certified.key();
        let mut in_force = self
            .0
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        in_force.config = config(&certified, in_force.verifier.as_ref(), &self.0.clock)?;
        in_force.certified = certified;
        Ok(())
    }

    /// Replaces the authorities of callers' certificates; the peers of open connections are judged
    /// again.
    ///
    /// # Errors
    /// As for [`Tls::new`]; then nothing is replaced.
    pub fn trust(&self, client_ca: &ClientCa) -> Result<(), rustls::Error> {
        let verifier = Some(client_ca.verifier());
        let mut in_force = self
            .0
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        in_force.config = config(&in_force.certified, verifier.as_ref(), &self.0.clock)?;
        in_force.verifier = verifier;
        self.0.authorities.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// What a new connection is secured with, and the number of the authorities that its peer's
    /// certificate is checked with.
    pub(in crate::transport) fn config(&self) -> (Arc<ServerConfig>, u64) {
        let in_force = self
            .0
            .in_force
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&in_force.config), self.authorities())
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The number of the authorities that are in force.
    pub(super) fn authorities(&self) -> u64 {
        self.0.authorities.load(Ordering::SeqCst)
    }

    pub(super) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        let in_force = self
            .0
            .in_force
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        in_force.verifier.clone()
    }
}

/// A new configuration has no sessions to resume, so that a peer is checked with its authorities.
fn config(
    certified: &Arc<CertifiedKey>,
    verifier: Option<&Arc<dyn ClientCertVerifier>>,
    clock: &Clock,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let time = Arc::new(Time(clock.clone()));
    let builder = ServerConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let resolver = SingleCertAndKey::from(Arc::clone(certified));
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![H2.to_vec()];
    Ok(Arc::new(config))
}

/// The service's clock as rustls reads it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&self.0))
    }
}

pub(super) fn unix_time(clock: &Clock) -> UnixTime {
    let seconds = u64::try_from(clock.now().secs()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
