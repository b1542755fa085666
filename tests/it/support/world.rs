//! The real service in this process, with a real listener, a real client and a manual clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use countersign::app::{App, Settings, StartError};
use countersign::clock::Clock;
use countersign::config::env::Env;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::moderation_service_client::ModerationServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::metrics::{Format, Metrics};
use countersign::reload::Reload;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::engine::Engine;
use super::logs;

/// A running service and what its tests need.
pub struct World<'a> {
    pub clock: Clock,
    pub engine: &'a Engine,
    settings: BTreeMap<String, String>,
    replica: Option<Replica>,
    /// Texts that must never be found in the log or the database.
    canaries: Mutex<Vec<String>>,
}

/// A replica on a runtime of its own, so that it can be killed.
pub struct Mortal {
    pub replica: Replica,
    kill: oneshot::Sender<()>,
}

/// One instance of the service.
pub struct Replica {
    /// A plain connection, which is not opened if the service speaks TLS.
    pub channel: Channel,
    pub metrics: Metrics,
    pub address: SocketAddr,
    pub reload: Reload,
    pub ops: Option<SocketAddr>,
    pub health: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<countersign::error::Result<()>>,
}

/// Lets all timers of this thread's runtime advance by this time at once. The service's clock does
/// not move.
pub async fn time_passes(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

impl<'a> World<'a> {
    /// Starts the service with `settings`, and with high limits unless those set them. The clock
    /// stands at the real time.
    pub async fn start(engine: &'a Engine, settings: &[(&str, &str)]) -> Self {
        let mut world = Self::absent(engine);
        world.settings.extend(
            settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        world.resume().await;
        world
    }

    /// Prepares the settings and the clock, and starts nothing yet.
    pub fn absent(engine: &'a Engine) -> Self {
        logs::keep();
        let mut all: BTreeMap<String, String> = engine.settings().into_iter().collect();
        let defaults = [
            ("LOGIN_MAX", "10000"),
            ("REGISTER_MAX", "10000"),
            ("ALLOW_SOCIAL_LOGIN", "true"),
            // Many services run at once.
            ("COUNTERSIGN_OPS_LISTEN", "off"),
        ];
        all.extend(defaults.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let clock = Clock::manual(Clock::system().now());
        Self {
            clock,
            engine,
            settings: all,
            replica: None,
            canaries: Mutex::default(),
        }
    }

    /// Starts another replica on the same database, with the same clock.
    pub async fn another(&self) -> Result<Replica, StartError> {
        self.another_at(self.clock.clone()).await
    }

    /// Starts another replica on the same database, with a clock of its own.
    pub async fn another_at(&self, clock: Clock) -> Result<Replica, StartError> {
        // Boxed, because the start would make the future of every test larger.
        Box::pin(Replica::start(self.load_settings(), clock)).await
    }

    /// Starts another replica on the same database that can be killed.
    pub async fn mortal(&self) -> Mortal {
        let (settings, clock) = (self.load_settings(), self.clock.clone());
        let (announce, started) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let replica = Replica::start(settings, clock).await;
                let _ = announce.send(replica.expect("the service starts"));
                let _ = killed.await;
            });
            runtime.shutdown_background();
        });
        let replica = started.await.expect("no panic");
        Mortal { replica, kill }
    }

    fn load_settings(&self) -> Settings {
        Settings::load(&Env::from_pairs(self.settings.clone()), self.clock.now())
            .expect("a good configuration")
    }

    pub fn replica(&self) -> &Replica {
        self.replica.as_ref().expect("running")
    }

    pub fn channel(&self) -> Channel {
        self.replica().channel.clone()
    }

    /// What the service counted and measured, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        self.replica().metrics.text(Format::Prometheus)
    }

    /// The value of a metric with these labels; fails if it is not shown.
    pub fn count(&self, name: &str, labels: &str) -> u64 {
        let text = self.metrics();
        let sample = if labels.is_empty() {
            format!("{name} ")
        } else {
            format!("{name}{{{labels}}} ")
        };
        let mut values = text.lines().filter_map(|line| line.strip_prefix(&sample));
        let value = values.next().unwrap_or_else(|| panic!("{sample}: {text}"));
        value.parse().expect("a number")
    }

    pub fn address(&self) -> SocketAddr {
        self.replica().address
    }

    /// Lets the service read its files again, as it does every ten seconds.
    pub async fn reload(&self) {
        self.replica().reload.check().await;
    }

    pub fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    pub fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel())
    }

    pub fn moderation(&self) -> ModerationServiceClient<Channel> {
        ModerationServiceClient::new(self.channel())
    }

    pub fn federation(&self) -> FederationServiceClient<Channel> {
        FederationServiceClient::new(self.channel())
    }

    /// Stops the service properly and starts it again on the same database, with the same clock.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.resume().await;
    }

    /// Stops the service properly, until [`World::resume`].
    pub async fn stop(&mut self) {
        self.replica.take().expect("running").stop().await;
    }

    pub async fn resume(&mut self) {
        self.replica = Some(self.another().await.expect("the service starts"));
    }

    /// Changes a setting for replicas that start from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// The error of a start that must fail.
    pub async fn refused_start(&self) -> String {
        self.another()
            .await
            .err()
            .expect("must not start")
            .to_string()
    }

    /// Remembers a text that must never be found in the log or the database.
    pub fn secret(&self, text: &str) {
        self.canaries
            .lock()
            .expect("no panic")
            .push(text.to_owned());
    }

    /// Stops the service and checks what must be true after every test.
    pub async fn end(mut self) {
        let metrics = self.metrics();
        self.replica.take().expect("running").stop().await;
        let canaries = self.canaries.lock().expect("no panic").clone();
        for canary in &canaries {
            assert!(
                !metrics.contains(canary),
                "a secret is in the metrics: {canary}"
            );
        }
        super::sweep::check(self.engine, &canaries).await;
    }
}

impl Replica {
    async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let speaks_tls = settings.tls.is_some();
        let app = App::start(settings, clock).await?;
        let metrics = app.metrics().clone();
        let reload = app.reload();
        let (ops, health) = (app.ops_address(), app.health_address());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(app.serve(listener, async {
            let _ = stopped.await;
        }));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = if speaks_tls {
            endpoint.connect_lazy()
        } else {
            endpoint.connect().await.expect("connects")
        };
        Ok(Self {
            channel,
            metrics,
            address,
            reload,
            ops,
            health,
            stop,
            served,
        })
    }

    pub fn tokens(&self) -> TokenServiceClient<Channel> {
        TokenServiceClient::new(self.channel.clone())
    }

    pub async fn stop(self) {
        drop(self.channel);
        let _ = self.stop.send(());
        self.served.await.expect("no panic").expect("ends well");
    }
}

impl Mortal {
    /// Ends the replica at once: all its work stops wherever it stands, as if the process was
    /// killed.
    pub fn kill(self) {
        let _ = self.kill.send(());
    }
}
