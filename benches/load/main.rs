//! `cargo bench`: compares the service's speed with a plain tonic echo and with the plain database
//! statement, in one run.

mod calls;
mod closed_loop;
mod database;
mod echo;
mod plan;
mod process;
mod provider;
mod raw;
mod service;
mod table;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use plan::Plan;
use provider::Provider;
use service::Service;

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const STARTS: usize = 11;
const POSTGRES: &str = "COUNTERSIGN_TEST_POSTGRES";

/// Measures the service.
#[derive(Parser)]
struct Args {
    /// How often everything is measured; the medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A PostgreSQL server to measure with as well, by default that of COUNTERSIGN_TEST_POSTGRES.
    #[arg(long)]
    postgres: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// The role of the program when it starts itself.
#[derive(Subcommand)]
enum Role {
    #[command(hide = true)]
    Echo { address: SocketAddr, size: usize },
    #[command(hide = true)]
    Raw { url: String },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Echo { address, size }) => {
            multi_thread()?.block_on(echo::serve(*address, *size))
        }
        Some(Role::Raw { url }) => raw::serve(url, &multi_thread()?),
        // On one thread, so that it leaves the CPUs to the servers.
        None => Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(measure(&args)),
    }
}

/// As the service's own.
fn multi_thread() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

#[expect(clippy::print_stdout, reason = "the report")]
async fn measure(args: &Args) -> Result<()> {
    let issuer = Provider::start().await?;
    let postgres = args
        .postgres
        .clone()
        .or_else(|| std::env::var(POSTGRES).ok());
    let (starts, restarts) = starts(&issuer).await?;
    let home = home()?;
    let file = format!("sqlite:{}", home.path().join("countersign.db").display());
    let service = Service::start(home.path(), &file, &issuer).await?;
    let idle = service.process.memory()?;

    let mut plan = Plan::default();
    let signed_in = service.sign_in().await?;
    let (user, tokens) = (
        signed_in.user.ok_or("no user")?,
        signed_in.tokens.ok_or("no tokens")?,
    );
    plan.verify(&service, &tokens, &user.id, args.rounds + 1)
        .await?;
    plan.resolve(&service, &tokens).await?;
    plan.refresh(&service, &user.id, &file, "SQLite").await?;
    let elsewhere = match &postgres {
        Some(url) => Some(on_postgres(&mut plan, url, &issuer).await?),
        None => None,
    };
    let time = Duration::from_secs_f64(args.seconds);
    for round in 0..=args.rounds {
        plan.round(time, round > 0).await?;
    }
    println!("\n{}", table::markdown(&plan.rows));
    println!(
        "Start to first answer: {restarts:.0} ms, with a new store {starts:.0} ms (medians of {STARTS})."
    );
    println!(
        "Memory (VmRSS): {idle:.1} MiB idle, {:.1} MiB after the load.\n",
        service.process.memory()?
    );
    println!("{}", method(args, postgres.as_deref()).await?);
    drop((plan, elsewhere));
    if let Some(url) = &postgres {
        database::drop(url).await?;
    }
    Ok(())
}

async fn on_postgres(plan: &mut Plan, url: &str, issuer: &str) -> Result<(Service, TempDir)> {
    let (home, url) = (home()?, database::create(url).await?);
    let service = Service::start(home.path(), &url, issuer).await?;
    let user = service.sign_in().await?.user.ok_or("no user")?;
    plan.refresh(&service, &user.id, &url, "PostgreSQL").await?;
    Ok((service, home))
}

/// Milliseconds from start to the first answer, with a new store and with an existing one.
async fn starts(issuer: &str) -> Result<(f64, f64)> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let home = home()?;
        for times in [&mut first, &mut again] {
            let start = Instant::now();
            let _service = Service::start(home.path(), "sqlite:countersign.db", issuer).await?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((table::median(first), table::median(again)))
}

fn home() -> Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// How it was measured, and on which machine.
async fn method(args: &Args, postgres: Option<&str>) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let engines = match postgres {
        Some(url) => format!(
            "SQLite {}, {}",
            database::sqlite_version().await?,
            database::describe(url).await?
        ),
        None => format!("SQLite {}", database::sqlite_version().await?),
    };
    Ok(format!(
        "Closed loop over loopback, {} connections with {} calls in flight each, by a bare HTTP/2 client on one thread of the same machine \
         ({cores} cores, {model}). Medians of {} interleaved rounds of {} s; every server is a process of its own on tokio's multi-thread \
         runtime, the service the release binary with a static-token caller. First-seen rows send {} tokens in a round. The CPU of the database server \
         is not counted. {engines}.",
        calls::CONNECTIONS,
        calls::IN_FLIGHT,
        args.rounds,
        args.seconds,
        plan::FRESH
    ))
}
