//! `countersign config check`.

use std::net::SocketAddr;
use std::process::ExitCode;

use crate::app::Settings;
use crate::caller::Callers;
use crate::clock::Clock;
use crate::config::env::Env;
use crate::config::{Config, Database};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the answer of a subcommand"
)]
pub(super) fn run() -> ExitCode {
    match Settings::load(&Env::capture(), Clock::system().now()) {
        Ok(settings) => {
            println!("{}", summary(&settings));
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            eprintln!("{}", mistakes.with_warnings());
            ExitCode::FAILURE
        }
    }
}

/// What was understood, without secrets.
fn summary(settings: &Settings) -> String {
    let config = &settings.config;
    let database = match &config.database {
        Database::Sqlite(path) => format!("SQLite, {}", path.display()),
        Database::Postgres(_) => "PostgreSQL".to_owned(),
    };
    let callers = match &settings.callers {
        Callers::Open => "none configured, open".to_owned(),
        Callers::Listed(callers) => joined(callers.iter().map(|caller| caller.name.clone())),
    };
    let providers = joined(
        config
            .providers
            .iter()
            .map(|provider| format!("{} ({})", provider.id(), provider.issuer())),
    );
    let mut lines = vec![
        "configuration is good".to_owned(),
        format!(
            "  listen     {}, {}",
            config.server.listen,
            security(config)
        ),
        format!("  ops        {}", address(config.server.ops_listen, "off")),
        format!(
            "  health     {}",
            address(config.server.health_listen, "none")
        ),
        format!("  database   {database}"),
        format!("  callers    {callers}"),
        format!("  providers  {providers}"),
    ];
    if let Some(traces) = &config.traces {
        lines.push(format!("  traces     {}", traces.collector.endpoint));
    }
    lines.extend(settings.found.iter().map(|found| {
        let names = joined(found.names.iter().cloned());
        format!("  set in     {}: {names}", found.place.name())
    }));
    lines.extend(
        settings
            .warnings
            .iter()
            .map(|warning| format!("  warning    {warning}")),
    );
    lines.join("\n")
}

fn security(config: &Config) -> &'static str {
    match &config.tls {
        None => "plain text",
        Some(files) if files.client_ca.is_some() => "TLS, certificates of callers taken",
        Some(_) => "TLS",
    }
}

fn address(listen: Option<SocketAddr>, absent: &str) -> String {
    listen.map_or_else(|| absent.to_owned(), |address| address.to_string())
}

fn joined(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_what_was_understood_and_no_secret() {
        let env = Env::from_pairs([
            ("COUNTERSIGN_HEALTH_LISTEN", "0.0.0.0:50052"),
            ("OPENID_CLIENT_ID", "chat"),
            ("OPENID_CLIENT_SECRET", "canary-secret"),
            ("OPENID_ISSUER", "https://id.example.com/"),
            ("ALLOW_SOCIAL_LOGIN", "true"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("DATABASE_URL", "postgres://u:canary-password@localhost/c"),
            ("CREDS_KEY", &"0f1e".repeat(16)),
        ]);
        let settings = Settings::load(&env, Clock::system().now());
        let shown = summary(&settings.expect("good"));
        for part in [
            "configuration is good",
            "127.0.0.1:50051, plain text\n",
            "ops        127.0.0.1:9464\n",
            "health     0.0.0.0:50052\n",
            "PostgreSQL",
            "none configured",
            "openid (https://id.example.com)",
            "http://collector:4317",
            "warning",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn listeners_that_there_are_not_are_told_too() {
        let env = Env::from_pairs([("COUNTERSIGN_OPS_LISTEN", "off")]);
        let settings = Settings::load(&env, Clock::system().now());
        let shown = summary(&settings.expect("good"));
        let listeners = "  ops        off\n  health     none\n";
        assert!(shown.contains(listeners), "{shown}");
    }
}
