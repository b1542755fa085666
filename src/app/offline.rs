//! What subcommands do with the store, whether a service runs beside them or not.

use super::{App, StartError, close};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::{Migrated, OpenStoreError, Opened, Store};

impl App {
    /// Brings the tables of the store up to date.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn migrate(config: Config) -> Result<Migrated, StartError> {
        let opened = open_alone(config).await?;
        close(&opened.store).await;
        Ok(opened.migrated)
    }

    /// Gives the store a new epoch, so that every process that serves from it drops what it remembers.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn begin_new_epoch(config: Config) -> Result<(), StartError> {
        let store = open_alone(config).await?.store;
        let bumped = store.begin_new_epoch().await;
        close(&store).await;
        bumped.map_err(|error| Error::from(error).into())
    }
}

pub(super) async fn open_alone(config: Config) -> Result<Opened, OpenStoreError> {
    let (clock, health) = (Clock::system(), Health::new());
    let metrics = Metrics::new(&clock);
    Store::open(&config.database, config.keyring, &clock, &metrics, &health).await
}
