//! Which variables and claims templates may read, and where the tokens in them may go.

use std::collections::BTreeMap;

use crate::secret::SecretString;

use super::http_hosts::HttpHosts;
use super::reader::Reader;

const ENV: &str = "COUNTERSIGN_TEMPLATE_ENV";
const CLAIMS: &str = "COUNTERSIGN_CLAIMS";
const HTTP_HOSTS: &str = "COUNTERSIGN_HTTP_HOSTS";
const MAX_CLAIM_LENGTH: usize = 128;
/// Secrets of LibreChat that this service does not read itself, and those of OpenTelemetry.
const SECRETS: [&str; 11] = [
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "MEILI_MASTER_KEY",
    "MONGO_URI",
    "REDIS_URI",
    "REDIS_PASSWORD",
    "PGPASSWORD",
    "EMAIL_PASSWORD",
    "MAILGUN_API_KEY",
    "LDAP_BIND_CREDENTIALS",
    "SAML_PRIVATE_KEY",
];

/// Which variables and claims templates may read, and where the tokens in them may go.
#[derive(Debug, Default)]
pub struct Templates {
    /// COUNTERSIGN_TEMPLATE_ENV: the variables that `${NAME}` may read, with the values they had at
    /// start.
    pub env: BTreeMap<String, SecretString>,
    /// COUNTERSIGN_CLAIMS: the claims that `{{LIBRECHAT_OPENID_CLAIM_<name>}}` may read.
    pub claims: Vec<String>,
    /// COUNTERSIGN_HTTP_HOSTS: the hosts that tokens may be sent to by plain http.
    pub http_hosts: HttpHosts,
}

/// Reads COUNTERSIGN_TEMPLATE_ENV, COUNTERSIGN_CLAIMS and COUNTERSIGN_HTTP_HOSTS. It must run last:
/// a variable is refused if it was read as a secret before.
pub(super) fn read(r: &mut Reader<'_>) -> Templates {
    let mut templates = Templates::default();
    for name in r.list(ENV) {
        if let Some(value) = variable(r, &name) {
            templates.env.insert(name, value);
        }
    }
    templates.claims = r.list(CLAIMS);
    if !templates.claims.iter().all(|name| is_claim(name)) {
        r.mistake(
            CLAIMS,
            "must be claim names of letters, digits and _ . : / - separated by commas",
        );
    }
    let hosts = HttpHosts::parse(&r.list(HTTP_HOSTS));
    match hosts {
        Ok(hosts) => templates.http_hosts = hosts,
        Err(description) => r.mistake(HTTP_HOSTS, description),
    }
    templates
}

fn variable(r: &mut Reader<'_>, name: &str) -> Option<SecretString> {
    if !is_name(name) {
        r.mistake(ENV, "must be names of variables, separated by commas");
        return None;
    }
    if is_secret(r, name) {
        r.mistake(
            ENV,
            format!("lists {name}, which is a secret of this service or of LibreChat"),
        );
        return None;
    }
    let value = r.text(name);
    if value.is_none() {
        r.warn(format!("{ENV} lists {name}, which is not set"));
    }
    value.map(SecretString::from)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_secret(r: &Reader<'_>, name: &str) -> bool {
    let stem = name.strip_suffix("_FILE").unwrap_or(name);
    r.is_secret(name)
        || SECRETS.contains(&stem)
        || ["_CLIENT_SECRET", "_SESSION_SECRET"]
            .iter()
            .any(|end| stem.ends_with(end))
}

fn is_claim(name: &str) -> bool {
    name.len() <= MAX_CLAIM_LENGTH
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
}
