//! The JWT of a caller as the callers' file has it.

use std::path::PathBuf;

use serde::Deserialize;

use super::named::NamedFiles;
use super::words::{Unknown, unknown_keys};
use crate::caller::key_source::{Jwt, KeySource, KeyUrl};
use crate::http::Client;
use crate::jose::CallerKeys;

/// The longest issuer, audience and subject, in bytes.
const MAX_TEXT: usize = 1024;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    issuer: String,
    audience: String,
    subject: String,
    jwks_url: Option<String>,
    jwks_file: Option<String>,
    ca_file: Option<String>,
    token_file: Option<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

impl Entry {
    /// The paths of the files that are read together with the callers' file.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        [&self.jwks_file, &self.ca_file]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}

/// The JWT of the entry, unless something is wrong with it; that is added to the faults. `own_issuer`
/// is the issuer of users' tokens, which prove no caller.
pub(super) fn check(
    entry: &Entry,
    own_issuer: &str,
    files: &NamedFiles,
    faults: &mut Vec<String>,
) -> Option<Jwt> {
    let before = faults.len();
    faults.extend(unknown_keys(&entry.unknown));
    for (name, text) in [
        ("issuer", &entry.issuer),
        ("audience", &entry.audience),
        ("subject", &entry.subject),
    ] {
        if text.is_empty() {
            faults.push(format!("has a jwt without {name}"));
        } else if text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.push(format!(
                "has a jwt with a {name} that is not 1 to {MAX_TEXT} visible ASCII characters"
            ));
        }
    }
    if entry.issuer == own_issuer {
        faults.push(
            "has a jwt of COUNTERSIGN_ISSUER, whose tokens are those of users and prove no caller"
                .to_owned(),
        );
    }
    let keys = keys(entry, files).map_err(|fault| faults.push(fault)).ok();
    keys.filter(|_| faults.len() == before).map(|keys| Jwt {
        issuer: entry.issuer.clone(),
        audience: entry.audience.clone(),
        subject: entry.subject.clone(),
        keys,
    })
}

fn keys(entry: &Entry, files: &NamedFiles) -> Result<KeySource, String> {
    match (&entry.jwks_url, &entry.jwks_file) {
        (Some(url), None) => key_url(entry, url, files).map(KeySource::Url),
        (None, Some(path)) => {
            if entry.ca_file.is_some() || entry.token_file.is_some() {
                return Err(
                    "has a jwt with a ca_file or token_file, which are for a jwks_url".into(),
                );
            }
            key_file(path, files).map(KeySource::File)
        }
        _ => Err("has a jwt that needs a jwks_url or a jwks_file, and not both".into()),
    }
}

fn key_file(path: &str, files: &NamedFiles) -> Result<CallerKeys, String> {
    let text = files.text(path);
    let text = text.map_err(|error| format!("has a jwks_file that cannot be read: {error}"))?;
    CallerKeys::parse(text.as_bytes())
        .filter(|keys| !keys.is_empty())
        .ok_or_else(|| {
            "has a jwks_file that is not a JWK set of 1 to 100 public keys for signatures".into()
        })
}

fn key_url(entry: &Entry, text: &str, files: &NamedFiles) -> Result<KeyUrl, String> {
    let url = url::Url::parse(text)
        .ok()
        .filter(|url| url.host().is_some() && url.fragment().is_none());
    let url = url.ok_or("has a jwks_url that is not a URL with a host and without fragment")?;
    let path = entry.ca_file.as_deref();
    let authorities = path.map(|path| files.text(path)).transpose();
    let authorities =
        authorities.map_err(|error| format!("has a ca_file that cannot be read: {error}"))?;
    let client = match authorities {
        Some(authorities) => Client::trusting(&url, authorities)
            .map_err(|_| "has a ca_file that holds no certificate, or a malformed one")?,
        None => Client::for_issuer(&url).map_err(|error| error.to_string())?,
    };
    client
        .check(text)
        .map_err(|error| format!("has a jwks_url that may not be used: {error}"))?;
    Ok(KeyUrl {
        url,
        authorities: authorities.map(str::to_owned),
        token_file: entry.token_file.as_ref().map(PathBuf::from),
        client,
    })
}
