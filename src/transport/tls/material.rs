//! Certificates and keys as their files hold them, checked before they are used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::{default_provider, sign};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SigningKey};
use zeroize::Zeroize as _;

use super::certificate::Parsed;
use crate::clock::Timestamp;
use crate::secret::{ExposeSecret as _, SecretString};

/// What is wrong with a certificate or a key, as the rest of a sentence that begins with the name
/// of its setting.
#[derive(Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is wrong.
    Certificate(&'static str),
    /// The private key is wrong.
    Key(&'static str),
}

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
    pub fn read(chain: &str, key: &SecretString, now: Timestamp) -> Result<Self, TlsFault> {
        let chain = certificates(chain).map_err(TlsFault::Certificate)?;
        let parsed = chain.first().and_then(|leaf| Parsed::read(leaf));
        let parsed = parsed.ok_or(TlsFault::Certificate("holds a malformed certificate"))?;
        if parsed.has_expired(now) {
            return Err(TlsFault::Certificate(
                "holds a certificate that has expired",
            ));
        }
        if now < parsed.not_before {
            return Err(TlsFault::Certificate(
                "holds a certificate that is not valid yet",
            ));
        }
        let key = CertifiedKey::new(chain, private_key(key).map_err(TlsFault::Key)?);
        if key.keys_match().is_err() {
            return Err(TlsFault::Key("does not match the first certificate"));
        }
        Ok(Self::of(key, parsed.not_after))
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

/// The certificates of a file.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err("holds no certificate in PEM"),
        Ok(all) => Ok(all),
        Err(_) => Err("holds damaged PEM"),
    }
}

fn private_key(pem: &SecretString) -> Result<Arc<dyn SigningKey>, &'static str> {
    let pem = pem.expose_secret();
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        return Err("holds an encrypted private key; it must not need a password");
    }
    let mut der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| "holds no private key in PEM, or damaged PEM")?;
    let key = sign::any_supported_type(&der);
    der.zeroize();
    key.map_err(|_| "holds a private key that is neither RSA nor ECDSA nor Ed25519")
}
