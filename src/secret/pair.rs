//! Certificates and their private keys, as files hold them.

use std::sync::Arc;

use rustls::Error;
use rustls::crypto::aws_lc_rs::sign;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroize as _;

/// What is wrong with a certificate or a key, as the rest of a sentence that begins with the name
/// of its setting.
#[derive(Debug, PartialEq, Eq)]
pub enum PairFault {
    /// The certificate is wrong.
    Certificate(&'static str),
    /// The private key is wrong.
    Key(&'static str),
}

/// The certificates of a PEM file.
///
/// # Errors
/// If there are none, or the file is damaged.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err("holds no certificate in PEM"),
        Ok(all) => Ok(all),
        Err(_) => Err("holds damaged PEM"),
    }
}

/// A chain of certificates with the private key of the first.
///
/// # Errors
/// If the key or the first certificate is unusable, or they do not match.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &SecretString,
) -> Result<CertifiedKey, PairFault> {
    let key = CertifiedKey::new(chain, private_key(key).map_err(PairFault::Key)?);
    match key.keys_match() {
        Ok(()) => Ok(key),
        Err(Error::InconsistentKeys(_)) => {
            Err(PairFault::Key("does not match the first certificate"))
        }
        Err(_) => Err(PairFault::Certificate(
            "begins with a certificate that TLS cannot use: it is malformed, not of X.509 version 3, or has an unknown critical extension",
        )),
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
