//! The whole service from its configuration: `Settings → App → serve`.

mod budget;
mod cleaner;
mod listeners;
mod offline;
mod reencrypt;
mod start_error;
mod tls;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::auth::Auth;
use crate::caller::{self, Callers, Gate, Surroundings};
use crate::clock::{Clock, Timestamp};
use crate::config::env::Env;
use crate::config::{Config, Found, Mistakes};
use crate::error::Result;
use crate::federation::{self, Federation};
use crate::feed::Feed;
use crate::grpc::{self, Api, Parts};
use crate::health::{Health, Part};
use crate::machine::Memory;
use crate::metrics::Metrics;
use crate::moderation::Moderation;
use crate::ops::{Ops, StoreWatch};
use crate::reload::{self, Digest, Reload, Watched};
use crate::server::{self, Serving};
use crate::store::{Opened, Store};
use crate::tasks::Tasks;
use crate::token::Tokens;
use crate::transport::{Listener, Tls};
use budget::Budget;

pub use reencrypt::{Progress, Reencrypted};
pub use start_error::StartError;

/// How long to wait, once the server has ended, for work that outlives its call: commits, and
/// renewals of provider tokens, whose refresh tokens may be good for one use only.
/// None begins once the service stops.
const FINISHING: Duration = federation::LONGEST_RENEWAL;
/// A database that does not answer must not hold up the end.
const CLOSING: Duration = Duration::from_secs(5);

/// What the service is told from outside: the environment, and the files that it names.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    /// Who may call.
    pub callers: Callers,
    /// The digest of the callers' file, if there is one.
    pub callers_digest: Option<Digest>,
    /// What the files of TLS hold, if the service speaks TLS.
    pub tls: Option<tls::Material>,
    /// How much memory the process may use, if that is known.
    pub memory: Option<Memory>,
    /// Which settings were found where.
    pub found: Vec<Found>,
    /// Warnings for the administrator, by the name of the setting; logged at start.
    pub warnings: Vec<String>,
}

/// A service that is ready to serve.
#[derive(Debug)]
pub struct App {
    store: Store,
    feed: Feed,
    clock: Clock,
    metrics: Metrics,
    tasks: Tasks,
    health: Health,
    ops: Option<Ops>,
    health_listener: Option<TcpListener>,
    api: Api,
    gate: Gate,
    tls: Option<Tls>,
    reload: Reload,
    reflection: bool,
}

impl Settings {
    /// Reads all settings. Certificates must be good at the time `now`.
    ///
    /// # Errors
    /// Every mistake in them, by name and never by value.
    pub fn load(env: &Env, now: Timestamp) -> Result<Self, Mistakes> {
        let (config, mut report) = Config::read(env);
        let files = config.tls.as_ref();
        let tls = files.and_then(|files| tls::read(files, now, &mut report));
        let path = config.callers_file.as_deref();
        let (callers, callers_digest) = Callers::read(path, &around(&config), &mut report);
        Ok(Self {
            tls,
            callers_digest,
            memory: Memory::read(Path::new("/")),
            found: report.take_found(),
            warnings: report.finish()?,
            config,
            callers,
        })
    }
}

impl App {
    /// Opens the store and joins the parts. No provider is asked for anything.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let mut config = settings.config;
        let metrics = Metrics::new(&clock);
        let gate = Gate::new(
            &settings.callers,
            clock.clone(),
            Arc::clone(&metrics.callers),
        );
        let tls = config.tls.clone().zip(settings.tls);
        let tls = tls.map(|(files, material)| tls::start(files, material, &clock, &metrics.reload));
        let (tls, mut watched) = match tls.transpose()? {
            Some((tls, watched)) => (Some(tls), watched),
            None => (None, Vec::new()),
        };
        watched.extend(watched_callers(&config, settings.callers_digest, &gate));
        let reload = Reload::new(watched, clock.clone(), Arc::clone(&metrics.reload));
        let tasks = Tasks::new(clock.clone(), Arc::clone(&metrics.tasks));
        let health = Health::new();
        let ops = listeners::ops(&config.server, &metrics, &health).await?;
        let health_listener = listeners::health(&config.server).await?;
        let keyring = config.keyring.take();
        let opened = Store::open(&config.database, keyring, &clock, &metrics, &health).await?;
        let reflection = config.server.reflection;
        let budget = Budget::announced(settings.memory);
        let feed_metrics = Arc::clone(&metrics.feed);
        let feed = Feed::start(opened.store.clone(), clock.clone(), feed_metrics).await?;
        let api = join(
            config,
            budget,
            &opened,
            feed.clone(),
            &clock,
            &tasks,
            &metrics,
        )
        .await?;
        if let Some(ops) = &ops {
            ops.publish(api.tokens().clone());
        }
        Ok(Self {
            api,
            feed,
            store: opened.store,
            clock,
            metrics,
            tasks,
            gate,
            tls,
            reload,
            health,
            ops,
            health_listener,
            reflection,
        })
    }

    /// Where the ops listener listens.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(Ops::address)
    }

    /// Where the health listener listens.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_listener.as_ref()?.local_addr().ok()
    }

    /// What the service counts and measures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The files that are read again while the service runs.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.reload.clone()
    }

    /// Serves until `shutdown`, waits for the work under way, and closes the store.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<()> {
        self.begin_background_tasks();
        let listener = Listener {
            socket: listener,
            tls: self.tls,
        };
        self.health.complete(Part::Start);
        let serving = Serving {
            listener,
            health_listener: self.health_listener,
            routes: grpc::routes(&self.api),
            gate: self.gate,
            reflection: self.reflection,
            tasks: self.tasks.clone(),
            health: self.health,
            metrics: &self.metrics,
        };
        let served = server::serve(serving, shutdown).await;
        // The server may have failed before it was told to stop.
        self.tasks.stop();
        let finish = async {
            self.tasks.finished().await;
            self.api.tokens().write_last_seen().await;
        };
        if timeout(FINISHING, finish).await.is_err() {
            let seconds = FINISHING.as_secs();
            tracing::warn!("work was still under way after {seconds} seconds");
        }
        close(&self.store).await;
        // Last, so that it tells of the stop until the end.
        drop(self.ops);
        served
    }
}

async fn close(store: &Store) {
    if timeout(CLOSING, store.close()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
}

/// The callers' file, which had this digest.
fn watched_callers(config: &Config, digest: Option<Digest>, gate: &Gate) -> Option<Watched> {
    let (path, digest) = config.callers_file.clone().zip(digest)?;
    let watched = caller::watched(path, digest, around(config), gate.clone());
    Some(watched)
}

/// What of the settings matters to the callers' file.
fn around(config: &Config) -> Surroundings {
    let files = config.tls.as_ref();
    Surroundings {
        has_client_ca: files.is_some_and(|files| files.client_ca.is_some()),
        issuer: config.token.issuer.clone(),
    }
}

impl App {
    /// Each task clones what it needs, because it is made anew if it panics.
    fn begin_background_tasks(&self) {
        let (store, clock, tasks) = (self.store.clone(), self.clock.clone(), self.tasks.clone());
        let tokens = self.api.tokens().clone();
        self.tasks.keep(cleaner::TASK, move || {
            cleaner::clean(store.clone(), tokens.clone(), clock.clone(), tasks.clone())
        });
        let (tokens, tasks) = (self.api.tokens().clone(), self.tasks.clone());
        self.tasks.keep(Tokens::LAST_SEEN, move || {
            tokens.clone().keep_writing_last_seen(tasks.clone())
        });
        let (reload, tasks) = (self.reload.clone(), self.tasks.clone());
        self.tasks
            .keep(reload::TASK, move || reload.clone().run(tasks.clone()));
        let (feed, tasks) = (self.feed.clone(), self.tasks.clone());
        self.tasks
            .keep(Feed::TASK, move || feed.clone().run(tasks.clone()));
        let (tokens, tasks) = (self.api.tokens().clone(), self.tasks.clone());
        if tokens.has_keys() {
            self.tasks.keep(Tokens::KEYS_TASK, move || {
                tokens.clone().keep_keys(tasks.clone())
            });
        }
        let (store, health, tasks) = (self.store.clone(), self.health.clone(), self.tasks.clone());
        self.tasks.keep(StoreWatch::NAME, move || {
            StoreWatch::new(store.clone(), health.clone(), tasks.clone()).run()
        });
    }
}

/// Joins the parts of the service around the open store.
async fn join(
    config: Config,
    budget: Budget,
    Opened { store, keyring, .. }: &Opened,
    feed: Feed,
    clock: &Clock,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Result<Api> {
    let tokens = Tokens::start(
        store.clone(),
        feed,
        keyring,
        clock.clone(),
        config.token,
        budget.tokens,
        metrics,
    )
    .await?;
    let moderation = Moderation::new(
        store.clone(),
        config.moderation,
        Arc::clone(&metrics.moderation),
    );
    let federation = Federation::start(
        store.clone(),
        keyring.clone(),
        clock.clone(),
        tasks.clone(),
        federation::Settings {
            providers: config.providers,
            templates: config.templates,
            memory: budget.provider_tokens,
        },
        Arc::clone(&metrics.providers),
    )
    .await?;
    tokens.show(&metrics.caches);
    federation.show(&metrics.caches);
    let auth = Auth::new(
        config.auth,
        store.clone(),
        keyring.clone(),
        tokens.clone(),
        moderation.clone(),
        federation.clone(),
        metrics,
    );
    let parts = Parts {
        clock: clock.clone(),
        tasks: tasks.clone(),
        auth,
        tokens,
        moderation,
        federation,
    };
    Ok(Api::new(parts, keyring))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n06_all_mistakes_are_told_in_one_run_and_no_value() {
        let env = Env::from_pairs([
            ("SESSION_EXPIRY", "canary()"),
            ("COUNTERSIGN_SESSIONS_PER_USER", "canary"),
            ("COUNTERSIGN_KEY_ROTATION", "canary"),
            ("COUNTERSIGN_SESSION_IDLE", "canary"),
            ("COUNTERSIGN_TOKEN_ALG", "canary"),
            ("MIN_PASSWORD_LENGTH", "canary"),
            ("DATABASE_URL", "postgres://u:canary@a,b/c?sslmode=canary"),
            ("COUNTERSIGN_ENCRYPTION_KEYS", "canary"),
            ("COUNTERSIGN_BOOTSTRAP_TOKEN", "a canary"),
            ("OPENID_CLIENT_SECRET", "another canary"),
            ("COUNTERSIGN_LISTEN", "canary"),
            ("COUNTERSIGN_OPS_LISTEN", "canary"),
            ("COUNTERSIGN_OPS_URL", "canary"),
            ("COUNTERSIGN_HEALTH_LISTEN", "canary"),
            ("COUNTERSIGN_LOG", "a=canary=b"),
            ("COUNTERSIGN_LOG_FORMAT", "canary"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "canary"),
            ("COUNTERSIGN_REFLECTION", "canary"),
            ("COUNTERSIGN_PLAINTEXT", "canary"),
            ("COUNTERSIGN_CALLERS", "/canary"),
            ("COUNTERSIGN_CLAIMS", "{canary}"),
            ("COUNTERSIGN_TEMPLATE_ENV", "canary canary"),
            ("COUNTERSIGN_HTTP_HOSTS", "http://canary"),
            ("LOGIN_WINDOW", "canary"),
            ("BAN_INTERVAL", "0.5"),
            ("DOMAIN_SERVER", "canary"),
            ("COUNTERSIGN_TLS_CERT", "/canary"),
            ("COUNTERSIGN_TLS_KEY", "/canary"),
            ("COUNTERSIGN_TLS_CLIENT_CA", "/canary"),
            ("COUNTERSIGN_LOG_FILTER_FILE", "/canary"),
        ]);
        let mistakes = Settings::load(&env, Clock::system().now()).expect_err("many");
        assert_eq!(mistakes.mistakes.len(), 30, "{mistakes}");
        assert!(
            !format!("{mistakes}{mistakes:?}").contains("canary"),
            "{mistakes}"
        );
    }
}
