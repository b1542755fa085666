//! The configuration, read once at start from the environment.

mod arithmetic;
pub mod auth;
mod database;
mod dotenv;
pub mod env;
mod file;
mod http_hosts;
mod keys;
mod librechat;
mod librechat_yaml;
mod log;
pub mod moderation;
mod otel;
pub mod providers;
mod published;
mod reader;
mod report;
mod server;
mod templates;
pub mod tls;
pub mod token;
mod traces;
mod urls;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::secret::Keyring;

use env::Env;
use reader::Reader;

pub use database::Database;
pub use file::read_text;
pub use http_hosts::HttpHosts;
pub use log::{Log, LogFormat, read_filter};
pub use report::{Found, Mistakes, Report};
pub use server::Server;
pub use templates::Templates;
pub use traces::{Collector, Limits, Sampler, Traces};
pub use urls::is_loopback;
pub use yaml::read_yaml;

/// The whole configuration, complete and consistent.
#[derive(Debug)]
pub struct Config {
    /// Where and how to serve.
    pub server: server::Server,
    /// The files for TLS; without them the service speaks plain text.
    pub tls: Option<tls::Tls>,
    /// Where the data lives.
    pub database: database::Database,
    /// The root keys, if configured; otherwise the store keeps a key file beside the SQLite
    /// database.
    pub keyring: Option<Keyring>,
    /// COUNTERSIGN_CALLERS: the path of the callers' file.
    pub callers_file: Option<PathBuf>,
    /// Accounts and sign-in.
    pub auth: auth::Auth,
    /// Sessions and tokens.
    pub token: token::Token,
    /// Violations, bans and limits.
    pub moderation: moderation::Moderation,
    /// Identity providers; empty if ALLOW_SOCIAL_LOGIN is off.
    pub providers: Vec<providers::Provider>,
    /// What templates may read.
    pub templates: templates::Templates,
    /// Logging.
    pub log: log::Log,
    /// Traces; `None` if there are none.
    pub traces: Option<Box<traces::Traces>>,
    /// OTEL_PROPAGATORS: whether callers say which trace a call is part of, and providers are told.
    pub trace_context: bool,
}

impl Config {
    /// Reads the whole configuration. A setting with a mistake keeps its default, and the report
    /// lists the mistake. Modules that read a file named by a setting add that file's mistakes to
    /// the report.
    #[must_use]
    pub fn read(env: &Env) -> (Self, Report) {
        let mut r = Reader::new(env);
        let config = Self::read_all(&mut r);
        (config, r.finish())
    }

    fn read_all(r: &mut Reader<'_>) -> Self {
        let server = server::read(r);
        let tls = tls::read(r);
        let domains = server::Domains::read(r);
        let (database, database_is_local) = database::read(r);
        let callers_file = r.text("COUNTERSIGN_CALLERS").map(PathBuf::from);
        let exposure = server::Exposure {
            listen: server.listen,
            tls: tls.as_ref(),
            has_callers: callers_file.is_some(),
            domain_is_local: domains.local,
            database_is_local,
        };
        exposure.check(r);
        let auth = auth::Auth::read(r);
        Self {
            server,
            tls,
            keyring: keys::read(r, &database),
            database,
            callers_file,
            token: token::Token::read(r, &domains.server),
            moderation: moderation::Moderation::read(r),
            providers: providers::read(r, &domains, auth.allow_social_login),
            auth,
            log: log::read(r),
            traces: traces::read(r).map(Box::new),
            trace_context: traces::propagators::read(r),
            templates: templates::read(r),
        }
    }
}
