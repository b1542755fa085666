//! `countersign health`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config::env::Env;
use crate::config::{Config, Server, tls};
use crate::secret::{ExposeSecret as _, SecretString};
use crate::transport::ask_health;

/// What a server says of itself if it can answer calls.
const SERVING: &str = "SERVING";

/// Whom to ask for what.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct HealthCommand {
    /// Address and port to ask; by default those of COUNTERSIGN_HEALTH_LISTEN, or else of
    /// COUNTERSIGN_LISTEN, by TLS if COUNTERSIGN_TLS_CERT is set.
    #[arg(long)]
    address: Option<String>,
    /// Ask this address by TLS, and trust the certificates in this PEM file: the server's own one, or
    /// those of who signed it.
    #[arg(long, value_name = "FILE", requires = "address")]
    ca: Option<PathBuf>,
    /// The service to ask for, such as countersign.v1.TokenService, or startup or liveness; by default
    /// the whole server.
    #[arg(long, default_value = "")]
    service: String,
    /// How many seconds the answer may take.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Where a server is asked, and which certificates prove that it is the one.
struct Asked {
    address: String,
    trusted: Option<SecretString>,
}

impl HealthCommand {
    /// Asks, prints one line, and succeeds if the answer is SERVING.
    #[must_use]
    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "the answer of a subcommand"
    )]
    pub fn run(&self) -> ExitCode {
        match self.ask() {
            Ok(status) => {
                println!("{status}");
                ExitCode::from(u8::from(status != SERVING))
            }
            Err(reason) => {
                eprintln!("{reason}");
                ExitCode::FAILURE
            }
        }
    }

    fn ask(&self) -> Result<&'static str, String> {
        let Asked { address, trusted } = self.asked()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let within = Duration::from_secs(self.timeout);
        let trusted = trusted.as_ref().map(SecretString::expose_secret);
        let asked = runtime.block_on(ask_health(&address, trusted, &self.service, within));
        // A look-up of a name cannot be cancelled.
        runtime.shutdown_background();
        asked.map_err(|reason| format!("{address} {reason}"))
    }

    fn asked(&self) -> Result<Asked, String> {
        let Some(address) = self.address.clone() else {
            return configured(&Env::capture());
        };
        let trusted = self.ca.as_deref().map(|path| read("--ca", path));
        Ok(Asked {
            address,
            trusted: trusted.transpose()?,
        })
    }
}

/// Where the server of these settings can be asked.
fn configured(env: &Env) -> Result<Asked, String> {
    let (config, report) = Config::read(env);
    report.finish().map_err(|mistakes| mistakes.to_string())?;
    // The health listener speaks clear text.
    let files = match config.server.health_listen {
        Some(_) => None,
        None => config.tls,
    };
    let trusted = files.map(|files| read(tls::CERT, &files.cert));
    Ok(Asked {
        address: address(&config.server).to_string(),
        trusted: trusted.transpose()?,
    })
}

fn read(name: &str, path: &Path) -> Result<SecretString, String> {
    tls::read_pem(path).map_err(|fault| format!("{name} {fault}"))
}

/// The loopback address, if the server listens on all addresses.
fn address(server: &Server) -> SocketAddr {
    let mut address = server.health_listen.unwrap_or(server.listen);
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_listener_is_asked_if_there_is_one_and_on_loopback_if_it_has_all_addresses() {
        for (health_listen, expected) in [
            (None, "127.0.0.1:50051"),
            (Some("0.0.0.0:50052"), "127.0.0.1:50052"),
            (Some("[::]:50052"), "[::1]:50052"),
            (Some("192.0.2.1:50052"), "192.0.2.1:50052"),
        ] {
            let settings = health_listen.map(|listen| ("COUNTERSIGN_HEALTH_LISTEN", listen));
            let asked = configured(&Env::from_pairs(settings)).expect("good");
            assert_eq!(asked.address, expected);
            assert!(asked.trusted.is_none());
        }
        let wrong = configured(&Env::from_pairs([("COUNTERSIGN_LISTEN", "canary")]));
        assert!(wrong.is_err_and(|text| text.starts_with("COUNTERSIGN_LISTEN")));
        let missing = configured(&Env::from_pairs([
            ("COUNTERSIGN_TLS_CERT", "/canary"),
            ("COUNTERSIGN_TLS_KEY", "/canary"),
        ]));
        let fault = missing.map(drop).expect_err("no file");
        assert!(fault.starts_with("COUNTERSIGN_TLS_CERT names a file that cannot be read"));
    }
}
