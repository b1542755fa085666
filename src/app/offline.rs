//! What subcommands do with the store, whether a service runs beside them or not.

use super::{App, StartError, close};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::token::Signing;
use crate::error::{Error, Result};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::model::signing_key::SigningKeyInfo;
use crate::store::{Migrated, OpenStoreError, Opened, Store};
use crate::token::StoredKeys;

/// Who changes keys, for the log.
const COMMAND_LINE: &str = "the command line";

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

    /// The signing keys in the store: the next one, the active one, then those that signed before.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn list_keys(config: Config) -> Result<Vec<SigningKeyInfo>, StartError> {
        with_keys(config, async |keys| keys.list().await).await
    }

    /// Lets another signing key sign from now on, and returns it.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn rotate_key(config: Config) -> Result<SigningKeyInfo, StartError> {
        with_keys(config, async |keys| keys.rotate(COMMAND_LINE).await).await
    }

    /// Revokes a signing key, and returns the one that signs.
    ///
    /// # Errors
    /// [`StartError`], also if there is no such key; if the keys do not fit the store, nothing was
    /// changed.
    pub async fn revoke_key(config: Config, kid: &str) -> Result<SigningKeyInfo, StartError> {
        with_keys(config, async |keys| keys.revoke(kid, COMMAND_LINE).await).await
    }
}

async fn with_keys<T>(
    config: Config,
    work: impl AsyncFnOnce(StoredKeys) -> Result<T>,
) -> Result<T, StartError> {
    let Signing::Keys(algorithm) = config.token.signing else {
        return Err(Error::SigningKeysUnused.into());
    };
    let Opened { store, keyring, .. } = open_alone(config).await?;
    let keys = StoredKeys::new(store.clone(), keyring, Clock::system(), algorithm);
    let done = work(keys).await;
    close(&store).await;
    Ok(done?)
}

pub(super) async fn open_alone(config: Config) -> Result<Opened, OpenStoreError> {
    let (clock, health) = (Clock::system(), Health::new());
    let metrics = Metrics::new(&clock);
    Store::open(&config.database, config.keyring, &clock, &metrics, &health).await
}
