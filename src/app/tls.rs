//! The files of TLS: read at start, and again while the service runs.

use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::config::{Report, tls};
use crate::error::{Error, Result};
use crate::metrics::{File, Reloads};
use crate::reload::{Digest, Watched};
use crate::secret::{ExposeSecret as _, SecretString, sha256};
use crate::transport::{Certified, ClientCa, Tls, TlsFault};

/// What the files of TLS hold.
#[derive(Debug)]
pub struct Material {
    certified: Certified,
    client_ca: Option<ClientCa>,
}

/// Reads the files; what is wrong with them is added to the report.
pub(super) fn read(files: &tls::Tls, now: Timestamp, report: &mut Report) -> Option<Material> {
    let certified = read_pair(files).and_then(|pair| certify(&pair, now));
    let client_ca = files.client_ca.as_deref().map(|path| {
        tls::read_pem(path)
            .and_then(|pem| ClientCa::read(pem.expose_secret(), now).map_err(str::to_owned))
    });
    let client_ca = match client_ca.transpose() {
        Ok(client_ca) => client_ca,
        Err(fault) => {
            report.mistake(tls::CLIENT_CA, fault);
            None
        }
    };
    match certified {
        Ok(certified) => Some(Material {
            certified,
            client_ca,
        }),
        Err((name, fault)) => {
            report.mistake(name, fault);
            None
        }
    }
}

/// TLS as the files say, if there are any.
pub(super) fn start(
    material: Option<&Material>,
    clock: &Clock,
    metrics: &Reloads,
) -> Result<Option<Tls>> {
    let Some(Material {
        certified,
        client_ca,
    }) = material
    else {
        return Ok(None);
    };
    metrics.expires(certified.expires());
    let tls = Tls::new(certified, client_ca.as_ref(), clock.clone());
    tls.map(Some).map_err(Error::internal)
}

/// All files of TLS: what changes counts for connections that begin from then on, and callers with
/// certificates are judged by the new authorities from their next call on.
pub(super) fn watched(
    files: &tls::Tls,
    tls: &Tls,
    clock: &Clock,
    metrics: &Arc<Reloads>,
) -> Vec<Watched> {
    let (pair, metrics) = (files.clone(), Arc::clone(metrics));
    let mut all = vec![watched_pair(pair, tls.clone(), clock.clone(), metrics)];
    if let Some(path) = files.client_ca.clone() {
        let (tls, clock) = (tls.clone(), clock.clone());
        let read = move || {
            let pem = tls::read_pem(&path).map_err(|fault| named(tls::CLIENT_CA, &fault))?;
            Ok((digest(&pem), pem))
        };
        let apply = move |pem: SecretString| {
            let client_ca = ClientCa::read(pem.expose_secret(), clock.now());
            let client_ca = client_ca.map_err(|fault| named(tls::CLIENT_CA, fault))?;
            tls.trust(&client_ca).map_err(|error| error.to_string())
        };
        all.push(Watched::new(File::ClientCa, read, apply));
    }
    all
}

/// A certificate and a key that are written one after the other do not match for a moment; the next
/// poll finds both.
fn watched_pair(files: tls::Tls, tls: Tls, clock: Clock, metrics: Arc<Reloads>) -> Watched {
    let told = |(name, fault): Fault| named(name, &fault);
    let read = move || {
        let pair = read_pair(&files).map_err(told)?;
        let both = [digest(&pair.0), digest(&pair.1)].concat();
        Ok((sha256(&both), pair))
    };
    let apply = move |pair: Pair| {
        let certified = certify(&pair, clock.now()).map_err(told)?;
        tls.certify(&certified).map_err(|error| error.to_string())?;
        metrics.expires(certified.expires());
        Ok(())
    };
    Watched::new(File::Certificate, read, apply)
}

/// The texts of the certificate's file and of the key's.
type Pair = (SecretString, SecretString);

/// The name of a setting, and what is wrong with its file.
type Fault = (&'static str, String);

fn read_pair(files: &tls::Tls) -> Result<Pair, Fault> {
    Ok((
        tls::read_pem(&files.cert).map_err(|fault| (tls::CERT, fault))?,
        tls::read_pem(&files.key).map_err(|fault| (tls::KEY, fault))?,
    ))
}

fn certify((chain, key): &Pair, now: Timestamp) -> Result<Certified, Fault> {
    Certified::read(chain.expose_secret(), key, now).map_err(|fault| match fault {
        TlsFault::Certificate(fault) => (tls::CERT, fault.to_owned()),
        TlsFault::Key(fault) => (tls::KEY, fault.to_owned()),
    })
}

fn named(name: &str, fault: &str) -> String {
    format!("{name} {fault}")
}

fn digest(text: &SecretString) -> Digest {
    sha256(text.expose_secret().as_bytes())
}
