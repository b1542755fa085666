//! The peer of a connection that presented a certificate.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::certificate::Parsed;
use super::in_force::{Tls, unix_time};
use crate::caller::Certificate;
use crate::clock::Timestamp;

/// Who has proven to hold the key of a certificate that a trusted authority signed.
#[derive(Debug)]
pub(in crate::transport) struct Peer {
    tls: Tls,
    certificate: Parsed,
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Judgement>,
}

/// Whether authorities signed a peer's certificate.
#[derive(Debug)]
struct Judgement {
    /// The number of the authorities.
    authorities: u64,
    is_trusted: bool,
}

impl Peer {
    /// The peer that presented this chain, which was checked with the authorities of this number;
    /// `None` if its certificate is malformed.
    pub(in crate::transport) fn new(
        tls: Tls,
        chain: &[CertificateDer<'_>],
        authorities: u64,
    ) -> Option<Self> {
        Some(Self {
            tls,
            certificate: Parsed::read(chain.first()?)?,
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            judged: Mutex::new(Judgement {
                authorities,
                is_trusted: true,
            }),
        })
    }

    /// Its certificate, unless that has expired or is no longer trusted.
    pub(in crate::transport) fn certificate(&self) -> Option<&Certificate> {
        let is_good = self.is_trusted() && !self.ends_within(Duration::ZERO);
        is_good.then_some(&self.certificate.names)
    }

    /// Whether its certificate will have expired once this time has passed.
    pub(in crate::transport) fn ends_within(&self, time: Duration) -> bool {
        let then = self.tls.clock().now().plus(time);
        self.certificate.has_expired(then)
    }

    /// Whether an authority that is in force signed its certificate. Checking a signature takes long,
    /// so it is done again only if other authorities have come into force.
    pub(in crate::transport) fn is_trusted(&self) -> bool {
        let now = self.tls.clock().now();
        let authorities = self.tls.authorities(now);
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.authorities != authorities {
            *judged = Judgement {
                authorities,
                is_trusted: self.is_signed(now),
            };
        }
        judged.is_trusted
    }

    fn is_signed(&self, now: Timestamp) -> bool {
        let (Some(verifier), Some((certificate, others))) =
            (self.tls.verifier(), self.chain.split_first())
        else {
            return false;
        };
        verifier
            .verify_client_cert(certificate, others, unix_time(now))
            .is_ok()
    }
}
