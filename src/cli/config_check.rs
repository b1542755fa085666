//! `countersign config check`.

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
            eprintln!("{mistakes}");
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
        format!("  database   {database}"),
        format!("  callers    {callers}"),
        format!("  providers  {providers}"),
    ];
    if let Some(traces) = &config.traces {
        lines.push(format!("  traces     {}", traces.endpoint));
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
}
