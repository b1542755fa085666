//! Renewing provider tokens: once however many calls need it, in a task that no cancelled call ends.
//!
//! A provider may rotate its refresh tokens, so one must never be sent twice: the attempt is committed before the request, and an
//! attempt whose outcome is not known is never repeated.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Federation;
use super::held::Held;
use super::oidc::{OpenIdClient, Owner, RefreshError};
use super::vocabulary::Status;
use crate::error::{Error, Result};
use crate::store::StoreError;
use crate::store::federated_tokens::{FailedRefresh, TokenState, TokensKey};

/// Longer than an attempt can take: connecting, the exchange and the commit.
const LEASE: Duration = Duration::from_secs(30);
/// After a failure the provider is left alone for so long.
const BACKOFF: Duration = Duration::from_secs(30);
/// How often another process's attempt is looked at, and for how long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOKS: usize = 80;
/// How soon an outcome that the store did not take is brought to it again.
const STORE_AGAIN: Duration = Duration::from_millis(250);
/// For how long: with the request before it, no longer than the lease.
const STORE_PATIENCE: Duration = Duration::from_secs(15);

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// There is a newer version now.
    Renewed,
    /// There will not be one.
    Impossible(Status),
    /// The provider or the store did not answer; it may be tried again.
    Unavailable,
}

/// The tokens that a renewal starts from: who has seen a newer version must not be told that it came.
type Start = (TokensKey, i64);
type Flying = HashMap<Start, watch::Receiver<Option<Renewal>>>;

/// The renewals under way in this process.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Flying>);

impl Flights {
    fn lock(&self) -> std::sync::MutexGuard<'_, Flying> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a flight off the list however its task ends.
struct Landing<'a> {
    flights: &'a Flights,
    start: &'a Start,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.lock().remove(self.start);
    }
}

/// What one look at the store led to.
enum Look {
    Done(Renewal),
    Again,
}

impl Federation {
    /// Waits until all renewals under way have ended, for a stop that loses no refresh token.
    pub async fn settle(&self) {
        let flights: Vec<_> = self.0.flights.lock().values().cloned().collect();
        for mut flight in flights {
            let _ = flight.wait_for(Option::is_some).await;
        }
    }

    /// Gets a newer version of these tokens, together with whoever else wants one.
    pub(super) async fn renew(&self, held: &Held) -> Renewal {
        let mut flight = self.join((held.key.clone(), held.version));
        match flight.wait_for(Option::is_some).await {
            Ok(renewal) => (*renewal).unwrap_or(Renewal::Unavailable),
            // The task panicked.
            Err(_) => Renewal::Unavailable,
        }
    }

    fn join(&self, start: Start) -> watch::Receiver<Option<Renewal>> {
        let mut flights = self.0.flights.lock();
        if let Some(flight) = flights.get(&start) {
            return flight.clone();
        }
        let (announce, flight) = watch::channel(None);
        flights.insert(start.clone(), flight.clone());
        let federation = self.clone();
        tokio::spawn(async move {
            let landing = Landing {
                flights: &federation.0.flights,
                start: &start,
            };
            let (key, version) = &start;
            let renewal = federation.fly(key, *version).await;
            drop(landing);
            let _ = announce.send(Some(renewal));
        });
        flight
    }

    async fn fly(&self, key: &TokensKey, version: i64) -> Renewal {
        for _ in 0..LOOKS {
            match self.look(key, version).await {
                Ok(Look::Done(renewal)) => return renewal,
                Ok(Look::Again) => tokio::time::sleep(LOOK_AGAIN).await,
                Err(error) => {
                    tracing::warn!(session = %key.session_id, error = &error as &dyn std::error::Error, "provider tokens could not be renewed");
                    return Renewal::Unavailable;
                }
            }
        }
        Renewal::Unavailable
    }

    async fn look(&self, key: &TokensKey, version: i64) -> Result<Look> {
        let stored = self.0.store.list_federated_tokens(&key.session_id).await?;
        let Some(stored) = stored.into_iter().find(|tokens| tokens.key == *key) else {
            return Ok(Look::Done(Renewal::Impossible(Status::Missing)));
        };
        let held = self.0.vault.open(stored)?;
        let now = self.0.clock.now();
        Ok(match held.state {
            _ if held.version != version => {
                self.0.memory.forget(&key.session_id);
                Look::Done(Renewal::Renewed)
            }
            TokenState::ReconnectRequired => {
                Look::Done(Renewal::Impossible(Status::ReconnectRequired))
            }
            TokenState::Backoff { retry } if now < retry => Look::Done(Renewal::Unavailable),
            TokenState::Refreshing { lease } if now < lease => Look::Again,
            TokenState::Refreshing { .. } if self.rotates(&held) => {
                self.give_up(&held, "an attempt ended without an outcome")
                    .await?
            }
            TokenState::Active | TokenState::Backoff { .. } | TokenState::Refreshing { .. } => {
                self.attempt(&held).await?
            }
        })
    }

    /// Whether a refresh token that was sent may be dead; of a provider that is no longer configured, nobody knows.
    fn rotates(&self, held: &Held) -> bool {
        self.provider(&held.provider)
            .map_or(true, OpenIdClient::rotates)
    }

    async fn attempt(&self, held: &Held) -> Result<Look> {
        let Some(refresh_token) = &held.refresh_token else {
            return Ok(Look::Done(Renewal::Impossible(Status::Expired)));
        };
        let Ok(client) = self.provider(&held.provider) else {
            return Ok(Look::Done(Renewal::Impossible(Status::ReconnectRequired)));
        };
        let now = self.0.clock.now();
        if !self
            .0
            .store
            .begin_token_refresh(
                &held.key,
                held.version,
                now.plus(LEASE),
                now,
                !client.rotates(),
            )
            .await?
        {
            return Ok(Look::Again);
        }
        let nonce = held.claims.get("nonce").and_then(|nonce| nonce.as_str());
        let owner = Owner {
            issuer: &held.issuer,
            subject: &held.subject,
            nonce,
        };
        match client.refresh(refresh_token, &owner, now).await {
            Ok((grant, claims)) => {
                let sealed = self.0.vault.seal_refresh(held, &grant, claims.as_ref());
                let keep = || {
                    self.0
                        .store
                        .complete_token_refresh(&held.key, held.version, &sealed, now)
                };
                Ok(told(until_stored(keep).await?, Renewal::Renewed))
            }
            Err(RefreshError::Refused(_)) => {
                self.give_up(held, "the provider refused the refresh token")
                    .await
            }
            Err(RefreshError::InDoubt(_)) => {
                self.give_up(held, "the provider's answer to a refresh was lost")
                    .await
            }
            Err(RefreshError::Invalid(reason)) => self.give_up(held, reason).await,
            Err(RefreshError::Transient(_)) => {
                let failed = FailedRefresh::Backoff {
                    retry: now.plus(BACKOFF),
                };
                let keep = || {
                    self.0
                        .store
                        .fail_token_refresh(&held.key, held.version, failed)
                };
                Ok(told(until_stored(keep).await?, Renewal::Unavailable))
            }
        }
    }

    async fn give_up(&self, held: &Held, reason: &str) -> Result<Look> {
        tracing::warn!(session = %held.key.session_id, provider = held.provider, reason, "the user has to sign in at the provider again");
        let keep = || {
            self.0.store.fail_token_refresh(
                &held.key,
                held.version,
                FailedRefresh::ReconnectRequired,
            )
        };
        Ok(told(
            until_stored(keep).await?,
            Renewal::Impossible(Status::ReconnectRequired),
        ))
    }
}

/// An outcome that the row did not take, because it has moved on or was stored unnoticed, is no outcome: the row says what is.
fn told(stored: bool, renewal: Renewal) -> Look {
    if stored {
        Look::Done(renewal)
    } else {
        Look::Again
    }
}

/// Brings an outcome to the store until it is taken: what a provider gave is not given again.
async fn until_stored<F>(keep: impl Fn() -> F) -> Result<bool>
where
    F: Future<Output = std::result::Result<bool, StoreError>>,
{
    let mut failure = None;
    let tries = async {
        loop {
            match keep().await {
                Ok(stored) => return stored,
                Err(error) => failure = Some(error),
            }
            tokio::time::sleep(STORE_AGAIN).await;
        }
    };
    match tokio::time::timeout(STORE_PATIENCE, tries).await {
        Ok(stored) => Ok(stored),
        Err(late) => {
            Err(failure.map_or_else(|| Error::StoreUnavailable(Box::new(late)), Error::from))
        }
    }
}
