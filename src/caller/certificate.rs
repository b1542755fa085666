//! What a caller's certificate says about it.

/// The names in a certificate that a trusted authority signed (its subjectAltName).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its URIs, as they are written.
    pub uris: Vec<String>,
    /// Its DNS names, in lower case.
    pub dns_names: Vec<String>,
}
