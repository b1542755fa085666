//! The files of TLS: read at start, and again while the service runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::config::{Report, tls};
use crate::error::{Error, Result};
use crate::metrics::{File, Reloads};
use crate::reload::{Digest, Watched};
use crate::secret::{ExposeSecret as _, PairFault, SecretString, sha256};
use crate::transport::{Certified, ClientCa, Tls};

/// What the files of TLS hold.
#[derive(Debug)]
pub struct Material {
    certified: Read<Certified>,
    client_ca: Option<Read<ClientCa>>,
}

/// What was read, with the digest of its text.
type Read<T> = (Digest, T);

/// The name of a setting, and what is wrong with its file.
type Fault = (&'static str, String);

/// Reads the files; what is wrong with them is added to the report.
pub(super) fn read(files: &tls::Tls, now: Timestamp, report: &mut Report) -> Option<Material> {
    let client_ca = files.client_ca.as_deref();
    let client_ca = client_ca.map(|path| read_client_ca(path, now)).transpose();
    let read = (read_certified(files, now), client_ca);
    match read {
        (Ok(certified), Ok(client_ca)) => Some(Material {
            certified,
            client_ca,
        }),
        (certified, client_ca) => {
            for (name, fault) in [certified.err(), client_ca.err()].into_iter().flatten() {
                report.mistake(name, fault);
            }
            None
        }
    }
}

/// TLS with what was read, and what is read again of it: a change of the certificate counts for
/// connections that begin from then on, and callers with certificates are judged by new authorities
/// from their next call on.
pub(super) fn start(
    files: tls::Tls,
    material: Material,
    clock: &Clock,
    metrics: &Arc<Reloads>,
) -> Result<(Tls, Vec<Watched>)> {
    let (certificate_digest, certified) = material.certified;
    let (client_ca_digest, client_ca) = material.client_ca.unzip();
    let tls = Tls::new(&certified, client_ca, clock.clone()).map_err(Error::internal)?;
    metrics.expires(certified.expires());
    let client_ca = files.client_ca.clone().zip(client_ca_digest);
    let client_ca = client_ca.map(|(path, digest)| watched_client_ca(path, digest, &tls, clock));
    let certificate = watched_certificate(files, certificate_digest, &tls, clock, metrics);
    let watched = [certificate].into_iter().chain(client_ca).collect();
    Ok((tls, watched))
}

/// A certificate and a key that are written one after the other do not match for a moment; the next
/// poll finds both.
fn watched_certificate(
    files: tls::Tls,
    digest: Digest,
    tls: &Tls,
    clock: &Clock,
    metrics: &Arc<Reloads>,
) -> Watched {
    let (tls, clock, metrics) = (tls.clone(), clock.clone(), Arc::clone(metrics));
    let read = move || read_certified(&files, clock.now()).map_err(told);
    let apply = move |certified: Certified| {
        tls.certify(&certified);
        metrics.expires(certified.expires());
        Ok(())
    };
    Watched::new(File::Certificate, digest, read, apply)
}

fn watched_client_ca(path: PathBuf, digest: Digest, tls: &Tls, clock: &Clock) -> Watched {
    let (tls, clock) = (tls.clone(), clock.clone());
    let read = move || read_client_ca(&path, clock.now()).map_err(told);
    let apply = move |client_ca| {
        tls.trust(client_ca);
        Ok(())
    };
    Watched::new(File::ClientCa, digest, read, apply)
}

fn read_certified(files: &tls::Tls, now: Timestamp) -> Result<Read<Certified>, Fault> {
    let chain = tls::read_pem(&files.cert).map_err(|fault| (tls::CERT, fault))?;
    let key = tls::read_pem(&files.key).map_err(|fault| (tls::KEY, fault))?;
    let certified = Certified::read(chain.expose_secret(), &key, now);
    let certified = certified.map_err(|fault| match fault {
        PairFault::Certificate(fault) => (tls::CERT, fault.to_owned()),
        PairFault::Key(fault) => (tls::KEY, fault.to_owned()),
    })?;
    let both = [digest(&chain), digest(&key)].concat();
    Ok((sha256(&both), certified))
}

fn read_client_ca(path: &Path, now: Timestamp) -> Result<Read<ClientCa>, Fault> {
    let pem = tls::read_pem(path).map_err(|fault| (tls::CLIENT_CA, fault))?;
    let client_ca = ClientCa::read(pem.expose_secret(), now);
    let client_ca = client_ca.map_err(|fault| (tls::CLIENT_CA, fault.to_owned()))?;
    Ok((digest(&pem), client_ca))
}

fn told((name, fault): Fault) -> String {
    format!("{name} {fault}")
}

fn digest(text: &SecretString) -> Digest {
    sha256(text.expose_secret().as_bytes())
}
