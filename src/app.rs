//! The whole service from its configuration: `Config → App → serve`.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::federation::Federation;
use crate::grpc::api::Api;
use crate::grpc::caller::Gate;
use crate::grpc::page::PageTokens;
use crate::grpc::unfinished::Unfinished;
use crate::moderation::Moderation;
use crate::server::{self, Services};
use crate::store::{OpenStoreError, Store};
use crate::token::Tokens;

/// How often rows that nobody can ask for any more are deleted.
const CLEANING: Duration = Duration::from_mins(10);
/// What is under way once the server has ended is waited for: commits, and renewals of provider tokens, whose refresh tokens are
/// good for one use.
const SETTLING: Duration = Duration::from_secs(10);
/// A database that does not answer must not hold up the end.
const CLOSING: Duration = Duration::from_secs(5);

/// A service that is ready to serve.
#[derive(Debug)]
pub struct App {
    store: Store,
    clock: Clock,
    moderation: Moderation,
    federation: Federation,
    api: Api,
    gate: Gate,
    reflection: bool,
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    #[error("{error}{}", error.cause_text())]
    Service {
        #[from]
        error: Error,
    },
}

impl App {
    /// Opens the store and joins the parts. No provider is asked for anything.
    ///
    /// # Errors
    /// [`StartError`]; where the keys do not fit the store, nothing was changed.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        let (store, keyring) = Store::open(&config.database, config.keyring).await?;
        let tokens = Tokens::start(store.clone(), &keyring, clock.clone(), config.token).await?;
        let moderation = Moderation::new(store.clone(), config.moderation);
        let federation = Federation::start(
            store.clone(),
            keyring.clone(),
            clock.clone(),
            config.providers,
            config.templates,
        )?;
        let pages = PageTokens::new(&keyring);
        let auth = Auth::new(
            config.auth,
            store.clone(),
            keyring,
            tokens.clone(),
            moderation.clone(),
            federation.clone(),
        );
        let api = Api::new(
            clock.clone(),
            auth,
            tokens,
            moderation.clone(),
            federation.clone(),
            pages,
        );
        let gate = Gate::new(&config.callers);
        Ok(Self {
            store,
            clock,
            moderation,
            federation,
            api,
            gate,
            reflection: config.server.reflection,
        })
    }

    /// Serves until `shutdown`, finishes what is under way, and closes the store.
    ///
    /// # Errors
    /// Where the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<()> {
        let cleaner = tokio::spawn(clean(self.store.clone(), self.moderation, self.clock));
        let unfinished = self.api.unfinished();
        let services = Services {
            auth: self.api.clone(),
            token: self.api.clone(),
            moderation: self.api.clone(),
            federation: self.api,
        };
        let served = server::serve(listener, services, self.gate, self.reflection, shutdown).await;
        cleaner.abort();
        if timeout(SETTLING, settle(&unfinished, &self.federation))
            .await
            .is_err()
        {
            tracing::warn!(
                "work was still under way after {} seconds",
                SETTLING.as_secs()
            );
        }
        if timeout(CLOSING, self.store.close()).await.is_err() {
            tracing::warn!("the store did not close in time");
        }
        served
    }
}

/// Waits until nothing is under way; what ends may have begun something else.
async fn settle(unfinished: &Unfinished, federation: &Federation) {
    loop {
        unfinished.ended().await;
        federation.settle().await;
        if unfinished.is_none() && federation.settle().now_or_never().is_some() {
            return;
        }
    }
}

/// Deletes expired rows now and then; a failure is told and tried again.
async fn clean(store: Store, moderation: Moderation, clock: Clock) {
    let mut ticks = interval(CLEANING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock.now();
        let cleaned = async {
            store.delete_expired_federated_logins(now).await?;
            store.delete_expired_sessions(now).await?;
            moderation.delete_expired(now).await
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "expired rows could not be deleted"
            );
        }
    }
}
