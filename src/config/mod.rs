//! What the service is told from outside, read once at start.

pub mod auth;
pub mod callers;
pub mod env;
pub mod moderation;
pub mod providers;
pub mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::secret::{Keyring, SecretString};

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
