//! What the service is told from outside, read once at start.

mod arithmetic;
pub mod auth;
pub mod callers;
mod callers_file;
mod database;
mod dotenv;
pub mod env;
mod keys;
mod log;
pub mod moderation;
pub mod providers;
mod reader;
mod server;
mod templates;
pub mod token;
mod urls;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret::{Keyring, SecretString};

use env::Env;
use reader::Reader;
pub use reader::{Mistake, Mistakes};

/// The whole configuration, complete and consistent.
#[derive(Debug)]
pub struct Config {
    /// Where and how to serve.
    pub server: Server,
    /// Where the data lives.
    pub database: Database,
    /// The root keys where configured; without them the store keeps a key file beside SQLite's database.
    pub keyring: Option<Keyring>,
    /// Who may call.
    pub callers: callers::Callers,
    /// Accounts and sign-in.
    pub auth: auth::Auth,
    /// Sessions and tokens.
    pub token: token::Token,
    /// Violations, bans and limits.
    pub moderation: moderation::Moderation,
    /// Identity providers; empty where ALLOW_SOCIAL_LOGIN is off.
    pub providers: Vec<providers::OpenIdProvider>,
    /// What templates may read.
    pub templates: Templates,
    /// Logging.
    pub log: Log,
    /// What an administrator should know, by name of the setting; logged at start.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the whole configuration, and the files that it names.
    ///
    /// # Errors
    /// Every mistake in it, by name and never by value.
    pub fn load(env: &Env) -> Result<Self, Mistakes> {
        let mut r = Reader::new(env);
        let config = Self::read(&mut r);
        Ok(Self {
            warnings: r.finish()?,
            ..config
        })
    }

    fn read(r: &mut Reader<'_>) -> Self {
        let server = server::read(r);
        let domains = server::Domains::read(r);
        let (database, database_is_local) = database::read(r);
        let callers = callers_file::read(r);
        server::check_exposure(r, server.listen, &callers, domains.local, database_is_local);
        let auth = auth::Auth::read(r);
        Self {
            server,
            keyring: keys::read(r, &database),
            database,
            callers,
            token: token::Token::read(r, &domains.server),
            moderation: moderation::Moderation::read(r),
            providers: providers(r, &domains.server, auth.allow_social_login),
            auth,
            log: log::read(r),
            templates: templates::read(r),
            warnings: Vec::new(),
        }
    }
}

fn providers(
    r: &mut Reader<'_>,
    domain_server: &str,
    allowed: bool,
) -> Vec<providers::OpenIdProvider> {
    let provider = providers::OpenIdProvider::read(r, domain_server);
    match (&provider, allowed) {
        (Some(_), false) => {
            r.warn("ALLOW_SOCIAL_LOGIN is not true: the configured OpenID provider is off");
        }
        (None, true) => r.warn("ALLOW_SOCIAL_LOGIN is true, but no provider is configured"),
        _ => {}
    }
    provider.into_iter().filter(|_| allowed).collect()
}

/// Where and how to serve.
#[derive(Debug)]
pub struct Server {
    /// COUNTERSIGN_LISTEN, default `127.0.0.1:50051`.
    pub listen: SocketAddr,
    /// COUNTERSIGN_REFLECTION, by default on where only loopback is served.
    pub reflection: bool,
}

/// DATABASE_URL, default `sqlite:countersign.db`.
#[derive(Debug)]
pub enum Database {
    /// A file of the embedded engine.
    Sqlite(PathBuf),
    /// A server, `postgres://…`, with `sslmode` written out.
    Postgres(SecretString),
}

/// What templates may read beside the user's values.
#[derive(Debug, Default)]
pub struct Templates {
    /// COUNTERSIGN_TEMPLATE_ENV: the variables that `${NAME}` may read, with their values at start.
    pub env: BTreeMap<String, SecretString>,
    /// COUNTERSIGN_CLAIMS: the claims that `{{LIBRECHAT_OPENID_CLAIM_<name>}}` may read.
    pub claims: Vec<String>,
}

/// Logging.
#[derive(Debug)]
pub struct Log {
    /// COUNTERSIGN_LOG: a `tracing` filter, default `info`.
    pub filter: String,
    /// COUNTERSIGN_LOG_FORMAT.
    pub format: LogFormat,
}

/// COUNTERSIGN_LOG_FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people (the default).
    Text,
    /// One JSON object a line.
    Json,
}
