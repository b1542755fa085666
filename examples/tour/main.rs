//! The whole main job as a story: `cargo run --example tour`.
//!
//! Starts the service on a free loopback port with a temporary database, an OpenID provider of its own, and then plays a backend that
//! signs users in and acts for them. It ends with a failure at the first answer that is not what it should be.
#![expect(clippy::print_stdout, reason = "the story is told on standard output")]

mod browser;
mod federated;
mod federated_login;
mod local;
mod moderation;
mod objects;
mod provider;
mod story;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use countersign::app::{App, Settings};
use countersign::clock::{Clock, Timestamp};
use countersign::config::env::Env;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::moderation_service_client::ModerationServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Channel;

use provider::Provider;
use story::{Outcome, say};

/// More time than the tour can take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The backend that the tour plays, with the clock that service and provider use.
struct World {
    clock: Clock,
    provider: Provider,
    auth: AuthServiceClient<Channel>,
    tokens: TokenServiceClient<Channel>,
    moderation: ModerationServiceClient<Channel>,
    federation: FederationServiceClient<Channel>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let toured = tokio::time::timeout(PATIENCE, run())
        .await
        .unwrap_or_else(|_| Err("it took longer than a minute".into()));
    match toured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nThe tour failed: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    let home = tempfile::tempdir()?;
    let clock = Clock::manual(now()?);
    let provider = Provider::start(clock.clone()).await?;
    let database = home.path().join("tour.db");
    let settings = Settings::load(
        &environment(&provider, &database.to_string_lossy()),
        clock.now(),
    )?;
    let app = App::start(settings, clock.clone()).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = tokio::spawn(app.serve(listener, async { drop(stopped.await) }));
    say(&format!(
        "Countersign serves on {address}, with SQLite in a temporary directory."
    ));
    say(&format!(
        "An OpenID provider of this example serves on {}.",
        provider.issuer()
    ));

    let channel = Channel::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let world = World {
        clock,
        provider,
        auth: AuthServiceClient::new(channel.clone()),
        tokens: TokenServiceClient::new(channel.clone()),
        moderation: ModerationServiceClient::new(channel.clone()),
        federation: FederationServiceClient::new(channel),
    };
    world.play().await?;
    drop(world);
    drop(stop);
    service.await??;
    say("\nThe service has stopped. Everything was as it should be.");
    Ok(())
}

impl World {
    async fn play(&self) -> Outcome {
        let ann = self.register().await?;
        let first = self.login().await?;
        self.verify(&first).await?;
        let second = self.refresh(&first).await?;
        self.tamper(&second).await?;
        self.steal(&first, &second).await?;
        let bea = self.federated_login().await?;
        self.resolve_endpoint(&bea).await?;
        self.resolve_mcp_servers(&bea).await?;
        let ann_again = self.login().await?;
        self.fail_closed(&ann_again).await?;
        self.renew_once(&bea).await?;
        self.ban(&ann.id).await?;
        self.logout(&bea).await
    }
}

/// The service's whole configuration; all other settings have their defaults.
fn environment(provider: &Provider, database: &str) -> Env {
    let database = format!("sqlite:{database}");
    Env::from_pairs([
        ("DATABASE_URL", database.as_str()),
        ("COUNTERSIGN_OPS_LISTEN", "off"),
        ("ALLOW_SOCIAL_LOGIN", "true"),
        ("OPENID_ISSUER", provider.issuer()),
        ("OPENID_CLIENT_ID", provider::CLIENT_ID),
        ("OPENID_CLIENT_SECRET", provider::CLIENT_SECRET),
        ("OPENID_ID_TOKEN_ALGS", "EdDSA"),
        ("COUNTERSIGN_CLAIMS", "groups"),
        ("COUNTERSIGN_TEMPLATE_ENV", "TOUR_REGION"),
        ("TOUR_REGION", "eu-north"),
    ])
}

fn now() -> Outcome<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(i64::try_from(since.as_millis())?))
}
