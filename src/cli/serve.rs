//! `countersign serve`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, Settings};
use crate::caller::Callers;
use crate::clock::Clock;
use crate::config::env::Env;
use crate::config::{Database, LogFormat};
use crate::reload::Reload;
use crate::telemetry::{self, Logging, Tracing};
use crate::trace;

/// How long the end of the process waits for its threads once everything is drained.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

type Failure = Box<dyn std::error::Error>;

/// Serves until SIGTERM or SIGINT.
#[must_use]
pub fn run() -> ExitCode {
    let env = Env::capture();
    match start(&env) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let format = LogFormat::of(&env);
            telemetry::print_failure(format, "countersign cannot start", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn start(env: &Env) -> Result<(), Failure> {
    let clock = Clock::system();
    let settings = Settings::load(env, clock.now()).map_err(|mistakes| mistakes.with_warnings())?;
    let logging = telemetry::install(&settings.config.log)?;
    if !settings.config.trace_context {
        trace::switch_context_off();
    }
    raise_open_files();
    refuse_core_files();
    // If a dependency ever links a second crypto provider, rustls cannot choose one by itself.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let traces = settings.config.traces.as_deref();
    let tracing = traces.map(|traces| telemetry::trace(traces, runtime.handle()));
    let tracing = tracing.transpose()?;
    let spans = tracing.as_ref().map(Tracing::lost_spans);
    let served = runtime.block_on(serve(settings, &logging, spans, clock));
    // While the runtime still runs the connection to the collector.
    drop(tracing);
    // A thread that is in a system call, such as a lookup of a name, cannot be cancelled.
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    served
}

/// Takes as many open files as the system allows. The usual limit of 1,024 is as many as there may be
/// connections of callers, and nothing would be left for health, metrics and the database.
fn raise_open_files() {
    let allowed = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: allowed.maximum,
        ..allowed
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Lets no core file be written, which would have keys and tokens in it.
fn refuse_core_files() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core files cannot be switched off");
    }
}

async fn serve(
    settings: Settings,
    logging: &Logging,
    lost_spans: Option<Arc<AtomicU64>>,
    clock: Clock,
) -> Result<(), Failure> {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let address = settings.config.server.listen;
    let open = matches!(settings.callers, Callers::Open);
    let tls = settings.tls.is_some();
    let log = &settings.config.log;
    let filter = log.filter_file.clone();
    let filter = filter.map(|path| logging.watched(path, &log.filter));
    let database = match &settings.config.database {
        Database::Sqlite(path) => format!("SQLite in {}", path.display()),
        Database::Postgres(_) => "PostgreSQL".to_owned(),
    };
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address} cannot be listened on: {error}"))?;
    // Before the start, which may wait for the database: an unhandled signal ends the process.
    let (mut stop, hangup) = (Box::pin(stop_signal()?), signal(SignalKind::hangup())?);
    let app = tokio::select! {
        app = App::start(settings, clock) => app?,
        () = &mut stop => {
            tracing::info!("stopped before it served");
            return Ok(());
        }
    };
    app.metrics().telemetry.follow(logging.lost_lines());
    if let Some(spans) = lost_spans {
        app.metrics().telemetry.follow_spans(spans);
    }
    if let Some(filter) = filter {
        app.reload().add(filter).await;
    }
    reload_at(hangup, app.reload());
    let address = listener.local_addr()?;
    tracing::info!(%address, tls, database, "serving");
    if open {
        let security = if tls { "-cacert CA.pem" } else { "-plaintext" };
        greet(&address.to_string(), security);
    }
    app.serve(listener, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Reads files again at each SIGHUP.
fn reload_at(mut hangup: Signal, reload: Reload) {
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload.ask();
        }
    });
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
fn greet(address: &str, security: &str) {
    let text = format!(
        r#"Countersign serves on {address}. Try it with grpcurl:

  grpcurl {security} {address} list

  grpcurl {security} -d '{{"email":"ann@example.com","password":"kestrel lantern orbit","name":"Ann Example","client":{{"ip_address":"203.0.113.7"}}}}' \
    {address} countersign.v1.AuthService/Register

  grpcurl {security} -d '{{"email":"ann@example.com","password":"kestrel lantern orbit","client":{{"ip_address":"203.0.113.7"}}}}' \
    {address} countersign.v1.AuthService/Login

  grpcurl {security} -d '{{"access_token":"<accessToken of the answer>"}}' {address} countersign.v1.TokenService/VerifyToken
"#
    );
    telemetry::print(std::io::stdout(), text);
}
