//! What is read from an X.509 certificate (RFC 5280).

use std::time::Duration;

use x509_cert::certificate::Version;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use crate::caller::Certificate;
use crate::clock::Timestamp;

/// What matters in a certificate.
#[derive(Debug)]
pub(super) struct Parsed {
    pub is_version_3: bool,
    pub not_before: Timestamp,
    /// The last second in which it is good.
    pub not_after: Timestamp,
    /// Its subjectAltName.
    pub names: Certificate,
}

impl Parsed {
    /// Reads a certificate in DER; `None` if it is malformed.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let certificate = certificate.tbs_certificate();
        let validity = certificate.validity();
        // Names that cannot be read name nobody.
        let names = certificate.get_extension::<SubjectAltName>().ok().flatten();
        Some(Self {
            is_version_3: certificate.version() == Version::V3,
            not_before: timestamp(validity.not_before),
            not_after: timestamp(validity.not_after),
            names: names.map(|(_, names)| collect(names)).unwrap_or_default(),
        })
    }

    /// Whether it is past its end.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        now.secs() > self.not_after.secs()
    }
}

fn timestamp(time: Time) -> Timestamp {
    let since_epoch: Duration = time.to_unix_duration();
    Timestamp::from_secs(i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX))
}

fn collect(names: SubjectAltName) -> Certificate {
    let mut certificate = Certificate::default();
    for name in names.0 {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                certificate.uris.push(uri.as_str().to_owned());
            }
            GeneralName::DnsName(name) => {
                let name = name.as_str().to_ascii_lowercase();
                certificate.dns_names.push(name);
            }
            _ => {}
        }
    }
    certificate
}
