//! The peer of a connection that presented a certificate.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use super::certificate::Parsed;
use super::in_force::{Tls, unix_time};
use crate::caller::Certificate;

/// Who has proven to hold the key of a certificate that a trusted authority signed.
#[derive(Debug)]
pub(in crate::transport) struct Peer {
    tls: Tls,
    certificate: Parsed,
    chain: Vec<CertificateDer<'static>>,
    /// The number of the authorities with which the chain was last found good.
    trusted_by: AtomicU64,
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
            trusted_by: AtomicU64::new(authorities),
        })
    }

    /// Its certificate, unless that has expired or is no longer trusted.
    pub(in crate::transport) fn certificate(&self) -> Option<&Certificate> {
        self.is_good_for(Duration::ZERO)
            .then_some(&self.certificate.names)
    }

    /// Whether its certificate is trusted and does not expire before that time has passed.
    pub(in crate::transport) fn is_good_for(&self, time: Duration) -> bool {
        let then = self.tls.clock().now().plus(time);
        !self.certificate.has_expired(then) && self.is_trusted()
    }

    fn is_trusted(&self) -> bool {
        let authorities = self.tls.authorities();
        if self.trusted_by.load(Ordering::SeqCst) == authorities {
            return true;
        }
        let is_trusted = self.is_signed();
        if is_trusted {
            self.trusted_by.store(authorities, Ordering::SeqCst);
        }
        is_trusted
    }

    /// Whether an authority that is in force now signed the certificate.
    fn is_signed(&self) -> bool {
        let (Some(verifier), Some((certificate, others))) =
            (self.tls.verifier(), self.chain.split_first())
        else {
            return false;
        };
        let now = unix_time(self.tls.clock());
        verifier
            .verify_client_cert(certificate, others, now)
            .is_ok()
    }
}
