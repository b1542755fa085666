//! What new connections are secured with.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier, crypto};

use super::material::{Certified, ClientCa};
use crate::clock::{Clock, Timestamp};

/// The only protocol that is spoken over TLS (RFC 9113 section 3.2).
pub(in crate::transport) const H2: &[u8] = b"h2";

/// How connections are secured. Clones share everything.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    clock: Clock,
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    in_force: RwLock<InForce>,
    /// Counts the sets of authorities that were in force, so that a connection notices that its peer
    /// has to be judged again.
    authorities: AtomicU64,
    /// When one of the authorities expires or becomes valid next, in milliseconds since the Unix
    /// epoch.
    next_change: AtomicI64,
}

struct InForce {
    certified: Arc<CertifiedKey>,
    /// Those that were read; not all of them have to be valid.
    client_ca: Option<ClientCa>,
    /// Checks certificates with those of the authorities that are valid.
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
        client_ca: Option<ClientCa>,
        clock: Clock,
    ) -> Result<Self, rustls::Error> {
        let builder = builder(&clock)?;
        let certified = certified.key();
        let now = clock.now();
        let verifier = client_ca.as_ref().and_then(|all| all.verifier(now));
        Ok(Self(Arc::new(Shared {
            next_change: AtomicI64::new(next_change(client_ca.as_ref(), now)),
            authorities: AtomicU64::new(0),
            in_force: RwLock::new(InForce {
                config: config(&builder, &certified, verifier.as_ref()),
                certified,
                client_ca,
                verifier,
            }),
            builder,
            clock,
        })))
    }

    /// Replaces the certificate, for connections that begin from now on.
    pub fn certify(&self, certified: &Certified) {
        let mut in_force = self.write();
        in_force.certified = certified.key();
        self.configure(&mut in_force);
    }

    /// Replaces the authorities of callers' certificates; the peers of open connections are judged
    /// again.
    pub fn trust(&self, client_ca: ClientCa) {
        let mut in_force = self.write();
        in_force.client_ca = Some(client_ca);
        self.choose_authorities(&mut in_force, self.0.clock.now());
    }

    /// What a new connection is secured with, and the number of the authorities that its peer's
    /// certificate is checked with.
    pub(in crate::transport) fn config(&self) -> (Arc<ServerConfig>, u64) {
        self.follow_time(self.0.clock.now());
        let in_force = self.read();
        let authorities = self.0.authorities.load(Ordering::SeqCst);
        (Arc::clone(&in_force.config), authorities)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The number of the authorities that are in force.
    pub(super) fn authorities(&self, now: Timestamp) -> u64 {
        self.follow_time(now);
        self.0.authorities.load(Ordering::SeqCst)
    }

    /// Checks certificates with the authorities that are in force, if there are any.
    pub(super) fn verifier(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.read().verifier.clone()
    }

    /// Drops authorities that have expired, and takes those that have become valid. rustls itself
    /// does not look at the validity of an authority.
    fn follow_time(&self, now: Timestamp) {
        let is_due = || now.millis() >= self.0.next_change.load(Ordering::SeqCst);
        if is_due() {
            let mut in_force = self.write();
            // Another call may have been faster.
            if is_due() {
                self.choose_authorities(&mut in_force, now);
            }
        }
    }

    fn choose_authorities(&self, in_force: &mut InForce, now: Timestamp) {
        let client_ca = in_force.client_ca.as_ref();
        in_force.verifier = client_ca.and_then(|all| all.verifier(now));
        self.0
            .next_change
            .store(next_change(client_ca, now), Ordering::SeqCst);
        self.configure(in_force);
        self.0.authorities.fetch_add(1, Ordering::SeqCst);
    }

    fn configure(&self, in_force: &mut InForce) {
        let verifier = in_force.verifier.as_ref();
        in_force.config = config(&self.0.builder, &in_force.certified, verifier);
    }

    fn read(&self) -> RwLockReadGuard<'_, InForce> {
        let in_force = self.0.in_force.read();
        in_force.unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, InForce> {
        let in_force = self.0.in_force.write();
        in_force.unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_change(client_ca: Option<&ClientCa>, now: Timestamp) -> i64 {
    let change = client_ca.and_then(|all| all.next_change(now));
    change.map_or(i64::MAX, Timestamp::millis)
}

fn builder(clock: &Clock) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let time = Arc::new(Time(clock.clone()));
    ServerConfig::builder_with_details(provider, time).with_protocol_versions(&[&TLS13, &TLS12])
}

/// A new configuration has no sessions to resume, so that a peer is checked with its authorities.
fn config(
    builder: &ConfigBuilder<ServerConfig, WantsVerifier>,
    certified: &Arc<CertifiedKey>,
    verifier: Option<&Arc<dyn ClientCertVerifier>>,
) -> Arc<ServerConfig> {
    let builder = builder.clone();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
        None => builder.with_no_client_auth(),
    };
    let resolver = SingleCertAndKey::from(Arc::clone(certified));
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![H2.to_vec()];
    Arc::new(config)
}

/// The service's clock as rustls reads it.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    let seconds = u64::try_from(now.secs()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
