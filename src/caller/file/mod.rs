//! The callers' file, COUNTERSIGN_CALLERS.

mod jwt;
mod limits;
mod named;
mod san;
mod scopes;
mod words;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::credential::TOKEN_PREFIX;
use super::key_source::Jwt;
use super::limits::Limits;
use super::permission::{Permission, Permissions};
use crate::config::{self, Report};
use crate::reload::Digest;
use crate::secret::sha256;
use named::NamedFiles;
use words::{SHAPE, Unknown, shown, unknown_keys};

const NAME: &str = "COUNTERSIGN_CALLERS";
const MAX_TOKENS: usize = 2;
const MAX_NAME: usize = 64;
const MAX_ALIASES: usize = 100;

/// The name of the caller of a service without configured callers.
pub(super) const OPEN: &str = "open";

/// Who may call.
#[derive(Debug)]
pub enum Callers {
    /// No caller is configured: everyone on loopback is the caller `open` with every permission.
    Open,
    /// Those of the file.
    Listed(Vec<Caller>),
}

/// A backend that may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its name; sessions belong to it.
    pub name: String,
    /// SHA-256 of each of its tokens (`csc_…`), two at most.
    pub token_sha256: Vec<[u8; 32]>,
    /// The only URI in the subjectAltName of its certificates, a SPIFFE ID.
    pub spiffe_id: Option<String>,
    /// A DNS name in the subjectAltName of its certificates, in lower case.
    pub dns_san: Option<String>,
    /// What its JWTs say.
    pub jwt: Option<Jwt>,
    /// What it may do.
    pub permissions: Permissions,
    /// The only audiences whose tokens it may use; all if empty.
    pub audiences: Vec<String>,
    /// Scopes that tokens may get which it exchanges, beside the names of permissions.
    pub scopes: Vec<String>,
    /// How many calls it may make.
    pub limits: Limits,
}

#[derive(Deserialize)]
struct File {
    callers: Vec<Entry>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: String,
    token_sha256: Vec<String>,
    spiffe_id: Option<String>,
    dns_san: Option<String>,
    jwt: Option<jwt::Entry>,
    permissions: Vec<String>,
    audiences: Vec<String>,
    scopes: Vec<String>,
    limits: Option<limits::Entry>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// What of the other settings matters to the callers' file.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Whether the service takes certificates from callers.
    pub has_client_ca: bool,
    /// COUNTERSIGN_ISSUER, whose tokens prove no caller.
    pub issuer: String,
}

/// The text of a callers' file, with the files that it names.
#[derive(Debug)]
pub(super) struct Loaded {
    text: String,
    named: NamedFiles,
}

impl Callers {
    /// Reads the callers' file and the files that it names, and returns the digest of all of them too;
    /// without a callers' file, everyone on loopback may call.
    pub fn read(
        path: Option<&Path>,
        around: &Surroundings,
        report: &mut Report,
    ) -> (Self, Option<Digest>) {
        let Some(path) = path else {
            return (Self::Open, None);
        };
        match load(path) {
            Ok((digest, loaded)) => (Self::parse(&loaded, around, report), Some(digest)),
            Err(description) => {
                report.mistake(NAME, description);
                (Self::Listed(Vec::new()), None)
            }
        }
    }

    /// The callers of a callers' file.
    pub(super) fn parse(loaded: &Loaded, around: &Surroundings, report: &mut Report) -> Self {
        match parse(&loaded.text) {
            Ok(file) => Self::Listed(check(report, file, around, &loaded.named)),
            Err(description) => {
                report.mistake(NAME, description);
                Self::Listed(Vec::new())
            }
        }
    }
}

/// Reads the callers' file and the files that it names, and returns the digest of all of them too.
pub(super) fn load(path: &Path) -> Result<(Digest, Loaded), String> {
    let text = config::read_text(path);
    let text = text.map_err(|error| format!("names a file that cannot be read: {error}"))?;
    let file = parse(&text).ok();
    let entries = file.iter().flat_map(|file| &file.callers);
    let jwts = entries.filter_map(|entry| entry.jwt.as_ref());
    let named = NamedFiles::read(jwts.flat_map(jwt::Entry::paths));
    let digest = sha256(&[sha256(text.as_bytes()), named.digest()].concat());
    Ok((digest, Loaded { text, named }))
}

/// Says only where the fault is, because the parser's own message may quote the file.
fn parse(text: &str) -> Result<File, String> {
    config::read_yaml(text, MAX_ALIASES).map_err(|error| {
        let place = error
            .location()
            .map(|place| format!(" at line {}, column {}", place.line(), place.column()))
            .unwrap_or_default();
        let fault = match error {
            serde_saphyr::Error::DuplicateMappingKey { .. } => "has the same key twice".to_owned(),
            _ => format!("is not of the shape {SHAPE}"),
        };
        format!("{fault}{place}")
    })
}

fn check(
    report: &mut Report,
    file: File,
    around: &Surroundings,
    files: &NamedFiles,
) -> Vec<Caller> {
    let mut faults = unknown_keys(&file.unknown);
    if file.callers.is_empty() {
        faults.push("names a file without callers; unset it to go without".to_owned());
    }
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    let (mut sans, mut jwts) = (BTreeSet::new(), BTreeSet::new());
    let mut callers = Vec::new();
    for (index, entry) in file.callers.into_iter().enumerate() {
        let (caller, mut of_caller) = check_entry(&entry, around, files);
        if !names.insert(caller.name.clone()) {
            of_caller.push("has the name of another caller".to_owned());
        }
        if caller.token_sha256.iter().any(|hash| !hashes.insert(*hash)) {
            of_caller.push("has a token_sha256 that occurs twice".to_owned());
        }
        let own = [&caller.spiffe_id, &caller.dns_san].into_iter().flatten();
        if own.filter(|san| !sans.insert((*san).clone())).count() > 0 {
            of_caller.push("has the spiffe_id or dns_san of another caller".to_owned());
        }
        if caller
            .jwt
            .as_ref()
            .is_some_and(|jwt| !jwts.insert(identity(jwt)))
        {
            of_caller.push("has the issuer, audience and subject of another caller".to_owned());
        }
        if !around.has_client_ca && (entry.spiffe_id.is_some() || entry.dns_san.is_some()) {
            of_caller.push(format!(
                "has a spiffe_id or dns_san, but {} is not set",
                config::tls::CLIENT_CA
            ));
        }
        if caller.permissions.is_empty() {
            report.warn(format!(
                "{NAME}: {} has no permission",
                label(&entry.name, index)
            ));
        }
        faults.extend(
            of_caller
                .into_iter()
                .map(|fault| format!("{} {fault}", label(&entry.name, index))),
        );
        callers.push(caller);
    }
    for fault in faults {
        report.mistake(NAME, fault);
    }
    callers
}

/// What tells one caller's JWTs from another's.
fn identity(jwt: &Jwt) -> [String; 3] {
    [&jwt.issuer, &jwt.audience, &jwt.subject].map(Clone::clone)
}

/// How a mistake names a caller. A malformed name is not repeated, because it could be anything,
/// even a token.
fn label(name: &str, index: usize) -> String {
    if is_name(name) {
        format!("caller {name}")
    } else {
        format!("caller {}", index + 1)
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(TOKEN_PREFIX)
}

fn check_entry(entry: &Entry, around: &Surroundings, files: &NamedFiles) -> (Caller, Vec<String>) {
    let mut faults = unknown_keys(&entry.unknown);
    if !is_name(&entry.name) {
        faults.push(format!(
            "has no name of 1 to {MAX_NAME} letters, digits, dots, dashes and underscores"
        ));
    }
    if entry.name == OPEN {
        faults.push("has a name that is taken for a service without callers".to_owned());
    }
    let has_another = entry.spiffe_id.is_some() || entry.dns_san.is_some() || entry.jwt.is_some();
    match entry.token_sha256.len() {
        0 if !has_another => faults.push(
            "has no credential: give it a token_sha256 (countersign caller new-token), a jwt, a spiffe_id or a dns_san".to_owned(),
        ),
        0..=MAX_TOKENS => {}
        _ => faults.push(format!("has more than {MAX_TOKENS} token_sha256")),
    }
    if entry
        .audiences
        .iter()
        .any(|audience| audience.trim().is_empty())
    {
        faults.push("has an empty audience".to_owned());
    }
    let scopes = scopes::check(&entry.scopes, &mut faults);
    let token_sha256 = collect(&entry.token_sha256, &mut faults, hash);
    let spiffe_id = collect(entry.spiffe_id.as_slice(), &mut faults, san::spiffe_id).pop();
    let dns_san = collect(entry.dns_san.as_slice(), &mut faults, san::dns_name).pop();
    let jwt = entry.jwt.as_ref();
    let jwt = jwt.and_then(|jwt| jwt::check(jwt, &around.issuer, files, &mut faults));
    let permissions = collect(&entry.permissions, &mut faults, permissions)
        .into_iter()
        .flatten()
        .collect();
    (
        Caller {
            name: entry.name.clone(),
            token_sha256,
            spiffe_id,
            dns_san,
            jwt,
            permissions,
            audiences: entry.audiences.clone(),
            scopes,
            limits: limits::check(entry.limits.as_ref(), &mut faults),
        },
        faults,
    )
}

fn collect<T>(
    texts: &[String],
    faults: &mut Vec<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in texts {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    values
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    if text.starts_with(TOKEN_PREFIX) {
        return Err(
            "has a token itself in token_sha256; put its SHA-256 there and make a new token"
                .to_owned(),
        );
    }
    let mut hash = [0; 32];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) if lower => Ok(hash),
        _ => Err("has a token_sha256 that is not 64 lower-case hexadecimal digits".to_owned()),
    }
}

fn permissions(text: &str) -> Result<Vec<Permission>, String> {
    Permission::covered_by(text)
        .ok_or_else(|| format!("has the unknown permission {}", shown(text)))
}

#[cfg(test)]
mod tests;
