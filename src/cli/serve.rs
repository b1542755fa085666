//! `countersign serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Settings};
use crate::caller::Callers;
use crate::clock::Clock;
use crate::config::Database;
use crate::config::env::Env;
use crate::telemetry::{self, Tracing};

/// How long the end of the process waits for its threads once everything is drained.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// What telemetry counts itself.
struct Lost {
    lines: Arc<AtomicU64>,
    spans: Option<Arc<AtomicU64>>,
}

type Failure = Box<dyn std::error::Error>;

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(reason: &str) -> ExitCode {
    let text = format!("countersign cannot start:\n{reason}\n");
    telemetry::print(std::io::stderr(), text);
    ExitCode::FAILURE
}

fn start() -> Result<(), Failure> {
    let settings = Settings::load(&Env::capture())?;
    let logging = telemetry::install(&settings.config.log)?;
    // If a dependency ever links a second crypto provider, rustls cannot choose one by itself.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let traces = settings.config.traces.as_ref();
    let tracing = traces.map(|traces| telemetry::trace(traces, runtime.handle()));
    let tracing = tracing.transpose()?;
    let lost = Lost {
        lines: logging.lost_lines(),
        spans: tracing.as_ref().map(Tracing::lost_spans),
    };
    let served = runtime.block_on(serve(settings, lost));
    // While the runtime still runs the connection to the collector.
    drop(tracing);
    // A thread that is in a system call, such as a lookup of a name, cannot be cancelled.
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    served
}

async fn serve(settings: Settings, lost: Lost) -> Result<(), Failure> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let address = settings.config.server.listen;
    let open = matches!(settings.callers, Callers::Open);
    let database = match &settings.config.database {
        Database::Sqlite(path) => format!("SQLite in {}", path.display()),
        Database::Postgres(_) => "PostgreSQL".to_owned(),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address} cannot be listened on: {error}"))?;
    let app = App::start(settings, Clock::system()).await?;
    app.metrics().log.follow(lost.lines);
    if let Some(spans) = lost.spans {
        app.metrics().log.follow_spans(spans);
    }
    let address = listener.local_addr()?;
    tracing::info!(%address, database, "serving");
    if open {
        greet(&address.to_string());
    }
    app.serve(listener, stop_signal()?).await?;
    tracing::info!("stopped");
    Ok(())
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What to call next, ready to paste.
fn greet(address: &str) {
    let text = format!(
        r#"Countersign serves on {address}. Try it with grpcurl:

  grpcurl -plaintext {address} list

  grpcurl -plaintext -d '{{"email":"ann@example.com","password":"kestrel lantern orbit","name":"Ann Example","client":{{"ip_address":"203.0.113.7"}}}}' \
    {address} countersign.v1.AuthService/Register

  grpcurl -plaintext -d '{{"email":"ann@example.com","password":"kestrel lantern orbit","client":{{"ip_address":"203.0.113.7"}}}}' \
    {address} countersign.v1.AuthService/Login

  grpcurl -plaintext -d '{{"access_token":"<accessToken of the answer>"}}' {address} countersign.v1.TokenService/VerifyToken
"#
    );
    telemetry::print(std::io::stdout(), text);
}
