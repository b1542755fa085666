//! Certificates and keys as their files hold them, checked before they are used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;

use super::certificate::Parsed;
use crate::clock::Timestamp;
use crate::secret::{PairFault, SecretString, certificates, certified};

/// The service's certificate, those that signed it, and its private key.
pub struct Certified {
    key: Arc<CertifiedKey>,
    /// The last second in which the certificate is good.
    expires: Timestamp,
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Certified {
    /// Reads a certificate with its chain, and its key, from PEM.
    ///
    /// # Errors
    /// What is wrong with them, above all if they do not match or the time is not right.
    pub fn read(chain: &str, key: &SecretString, now: Timestamp) -> Result<Self, PairFault> {
        let chain = certificates(chain).map_err(PairFault::Certificate)?;
        let parsed = chain.first().and_then(|leaf| Parsed::read(leaf));
        let parsed = parsed.ok_or(PairFault::Certificate("holds a malformed certificate"))?;
        if !parsed.is_version_3 {
            return Err(PairFault::Certificate(
                "holds a certificate of an older X.509 version than 3, which TLS cannot use",
            ));
        }
        if parsed.has_expired(now) {
            return Err(PairFault::Certificate(
                "holds a certificate that has expired",
            ));
        }
        if now < parsed.not_before {
            return Err(PairFault::Certificate(
                "holds a certificate that is not valid yet",
            ));
        }
        Ok(Self::of(certified(chain, key)?, parsed.not_after))
    }

    pub(super) fn of(key: CertifiedKey, expires: Timestamp) -> Self {
        let key = Arc::new(key);
        Self { key, expires }
    }

    /// The last second in which the certificate is good.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

/// The authorities that sign callers' certificates.
#[derive(Debug)]
pub struct ClientCa(Vec<Authority>);

#[derive(Debug)]
struct Authority {
    der: CertificateDer<'static>,
    from: Timestamp,
    /// The first second in which it has expired.
    until: Timestamp,
}

impl ClientCa {
    /// Reads certificates of authorities from PEM. One of them must be valid now; others may become
    /// so later.
    ///
    /// # Errors
    /// What is wrong with them, as the rest of a sentence that begins with the setting's name.
    pub fn read(pem: &str, now: Timestamp) -> Result<Self, &'static str> {
        Self::of(certificates(pem)?, now)
    }

    pub(super) fn of(
        certificates: Vec<CertificateDer<'static>>,
        now: Timestamp,
    ) -> Result<Self, &'static str> {
        let mut all = Vec::new();
        for der in certificates {
            let parsed = Parsed::read(&der).ok_or("holds a malformed certificate")?;
            // One that has expired is never used, so it may be of any kind.
            if !parsed.has_expired(now) {
                let added = RootCertStore::empty().add(der.clone());
                added.map_err(|_| "holds a certificate that cannot be an authority")?;
                all.push(Authority::new(der, &parsed));
            }
        }
        if all.iter().any(|authority| authority.is_valid(now)) {
            Ok(Self(all))
        } else {
            Err("holds only certificates that have expired or are not valid yet")
        }
    }

    /// Checks certificates with the authorities that are valid now; `None` if none is.
    pub(super) fn verifier(&self, now: Timestamp) -> Option<Arc<dyn ClientCertVerifier>> {
        let valid = self.0.iter().filter(|authority| authority.is_valid(now));
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(valid.map(|authority| authority.der.clone()));
        let builder =
            WebPkiClientVerifier::builder_with_provider(roots.into(), default_provider().into());
        // It fails if there is no authority.
        builder.allow_unauthenticated().build().ok()
    }

    /// When one of the authorities expires or becomes valid next.
    pub(super) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let changes = self.0.iter().flat_map(|one| [one.from, one.until]);
        changes.filter(|change| *change > now).min()
    }
}

impl Authority {
    fn new(der: CertificateDer<'static>, parsed: &Parsed) -> Self {
        Self {
            der,
            from: parsed.not_before,
            until: parsed.not_after.plus(Duration::from_secs(1)),
        }
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        (self.from..self.until).contains(&now)
    }
}
