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

use countersign::grpc::proto::{SignedIn, TokenPair};
use plan::{Plan, Tokens};
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
    /// How many users, sessions, tokens and bans the store has and the calls use in turn.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
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

    let prepared = Prepared::new(&service, args).await?;
    // The service remembers the tokens that it issued; a new process has seen none.
    let service = service.restart(home.path(), &file, &issuer).await?;
    let mut plan = Plan::default();
    plan.verify(&service, &prepared.tokens).await?;
    plan.exchange(&service, &prepared.tokens.seen).await?;
    plan.resolve(&service, &prepared.tokens.seen).await?;
    plan.check(&service, &prepared.users, args.sessions).await?;
    plan.refresh(&service, prepared.refreshed, &file, "SQLite")?;
    let elsewhere = match &postgres {
        Some(url) => Some(on_postgres(&mut plan, url, &issuer, args.sessions).await?),
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

/// What the rows need in the store.
struct Prepared {
    users: Vec<SignedIn>,
    tokens: Tokens,
    /// Sessions to be refreshed.
    refreshed: Vec<TokenPair>,
}

impl Prepared {
    async fn new(service: &Service, args: &Args) -> Result<Self> {
        let (count, fresh) = (args.sessions, plan::FRESH * (args.rounds + 1));
        let users = service.sign_in(count).await?;
        service.ban(count).await?;
        let access = |pairs: Vec<TokenPair>| pairs.into_iter().map(|pair| pair.access_token);
        let seen = users.iter().filter_map(|one| one.tokens.clone());
        let new_sessions = service.mint(&users, "", fresh).await?;
        Ok(Self {
            tokens: Tokens {
                seen: access(seen.collect()).collect(),
                new: service.access_tokens(&users, fresh).await?,
                of_new_sessions: access(new_sessions).collect(),
            },
            refreshed: refreshed(service, &users, count).await?,
            users,
        })
    }
}

/// Sessions to be refreshed, and as many that the plain statement updates.
async fn refreshed(service: &Service, users: &[SignedIn], count: usize) -> Result<Vec<TokenPair>> {
    service.mint(users, raw::DEVICE, count).await?;
    service.mint(users, "", count).await
}

async fn on_postgres(
    plan: &mut Plan,
    url: &str,
    issuer: &str,
    sessions: usize,
) -> Result<(Service, TempDir)> {
    let (home, url) = (home()?, database::create(url).await?);
    let service = Service::start(home.path(), &url, issuer).await?;
    let users = service.sign_in(sessions).await?;
    service.ban(sessions).await?;
    let tokens = refreshed(&service, &users, sessions).await?;
    plan.refresh(&service, tokens, &url, "PostgreSQL")?;
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
         runtime, the service the release binary with a static-token caller. The store has {} users with a session each, and as many bans; the calls \
         use them in turn and name an end user's address. First-seen rows send {} tokens in a round. The CPU of the database server is not \
         counted. {engines}.",
        calls::CONNECTIONS,
        calls::IN_FLIGHT,
        args.rounds,
        args.seconds,
        args.sessions,
        plan::FRESH
    ))
}
