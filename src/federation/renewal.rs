//! Renews provider tokens: once for all calls that need it, in a task that goes on if a call is
//! cancelled.
//!
//! A provider may rotate its refresh tokens, so one must not be sent twice: the attempt is
//! committed before the request, and an attempt whose outcome is unknown is repeated only if the
//! provider does not rotate.

use std::time::Duration;

use super::Federation;
use super::in_flight::Renewal;
use super::tokens::ProviderTokens;
use crate::error::{Error, Result};
use crate::model::provider_tokens::{FailedRefresh, TokenState, TokensKey};
use crate::provider::{Owner, Provider, RefreshError};
use crate::store::StoreError;
use crate::template::vocabulary::Status;

/// How long an attempt keeps others out: longer than it can take to connect, exchange and commit.
const LEASE: Duration = Duration::from_secs(30);
/// After a failure the provider is not asked again for this long.
const BACKOFF: Duration = Duration::from_secs(30);
/// The pause between reads of the row while another process renews it, and the number of reads: 8
/// seconds in all.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const POLLS: usize = 80;
/// The pause before storing an outcome is retried.
const STORE_RETRY: Duration = Duration::from_millis(250);
/// How long storing is retried; together with the request before it, this is no longer than the
/// lease.
const STORE_TIMEOUT: Duration = Duration::from_secs(15);

/// The result of one step of a renewal.
enum Progress {
    Done(Renewal),
    /// Another process's attempt is in flight, or the row has changed: read it again.
    ReadAgain,
}

impl Federation {
    /// Gets a newer version of these tokens; concurrent calls share one renewal.
    pub(super) async fn renew(&self, tokens: &ProviderTokens) -> Renewal {
        let start = (tokens.key.clone(), tokens.version);
        let (federation, (key, version)) = (self.clone(), start.clone());
        let work = || async move { federation.run_renewal(&key, version).await };
        self.0
            .renewals
            .run(start, work)
            .await
            .unwrap_or(Renewal::Unavailable)
    }

    async fn run_renewal(&self, key: &TokensKey, version: i64) -> Renewal {
        for _ in 0..POLLS {
            match self.step(key, version).await {
                Ok(Progress::Done(renewal)) => return renewal,
                Ok(Progress::ReadAgain) => tokio::time::sleep(POLL_INTERVAL).await,
                Err(error) => {
                    tracing::warn!(session = %key.session_id, error = &error as &dyn std::error::Error, "provider tokens could not be renewed");
                    return Renewal::Unavailable;
                }
            }
        }
        Renewal::Unavailable
    }

    async fn step(&self, key: &TokensKey, version: i64) -> Result<Progress> {
        let stored = self.0.store.list_federated_tokens(&key.session_id).await?;
        let Some(stored) = stored.into_iter().find(|stored| stored.key == *key) else {
            return Ok(Progress::Done(Renewal::Impossible(Status::Missing)));
        };
        let tokens = self.0.vault.open(stored)?;
        let now = self.0.clock.now();
        Ok(match tokens.state {
            _ if tokens.version != version => {
                self.0.cache.forget(&key.session_id);
                Progress::Done(Renewal::Renewed)
            }
            TokenState::ReconnectRequired => {
                Progress::Done(Renewal::Impossible(Status::ReconnectRequired))
            }
            TokenState::Backoff { retry } if now < retry => Progress::Done(Renewal::Unavailable),
            TokenState::Refreshing { lease } if now < lease => Progress::ReadAgain,
            TokenState::Refreshing { .. } if self.rotates(&tokens) => {
                self.give_up(&tokens, "the outcome of an earlier attempt is unknown")
                    .await?
            }
            TokenState::Active | TokenState::Backoff { .. } | TokenState::Refreshing { .. } => {
                self.attempt(&tokens).await?
            }
        })
    }

    /// Whether the provider may have invalidated a refresh token that was sent; assumed if the
    /// provider is no longer configured.
    fn rotates(&self, tokens: &ProviderTokens) -> bool {
        Provider::find(self.providers(), &tokens.provider).map_or(true, Provider::rotates)
    }

    async fn attempt(&self, tokens: &ProviderTokens) -> Result<Progress> {
        let Some(refresh_token) = &tokens.refresh_token else {
            return Ok(Progress::Done(Renewal::Impossible(Status::Expired)));
        };
        let Ok(provider) = Provider::find(self.providers(), &tokens.provider) else {
            return Ok(Progress::Done(Renewal::Impossible(
                Status::ReconnectRequired,
            )));
        };
        let (now, store) = (self.0.clock.now(), &self.0.store);
        let (key, version, lease) = (&tokens.key, tokens.version, now.plus(LEASE));
        let begun = store.begin_token_refresh(key, version, lease, now, !provider.rotates());
        if !begun.await? {
            return Ok(Progress::ReadAgain);
        }
        let owner = Owner {
            issuer: &tokens.issuer,
            subject: &tokens.subject,
            claims: &tokens.claims,
        };
        match provider.refresh(refresh_token, &owner, now).await {
            Ok((grant, claims)) => {
                let sealed = self.0.vault.seal_refresh(tokens, &grant, claims.as_ref());
                let keep = || store.complete_token_refresh(key, version, &sealed, now);
                confirmed(keep, Renewal::Renewed).await
            }
            Err(RefreshError::Refused(_)) => {
                self.give_up(tokens, "the provider refused the refresh token")
                    .await
            }
            Err(RefreshError::InDoubt(_)) => {
                self.give_up(tokens, "the provider's answer to a refresh was lost")
                    .await
            }
            Err(RefreshError::Invalid(reason)) => self.give_up(tokens, reason).await,
            Err(RefreshError::Transient(_)) => {
                let failed = FailedRefresh::Backoff {
                    retry: now.plus(BACKOFF),
                };
                let keep = || store.fail_token_refresh(key, version, failed);
                confirmed(keep, Renewal::Unavailable).await
            }
        }
    }

    async fn give_up(&self, tokens: &ProviderTokens, reason: &str) -> Result<Progress> {
        tracing::warn!(session = %tokens.key.session_id, provider = tokens.provider, reason, "the user has to sign in at the provider again");
        let keep = || {
            self.0.store.fail_token_refresh(
                &tokens.key,
                tokens.version,
                FailedRefresh::ReconnectRequired,
            )
        };
        confirmed(keep, Renewal::Impossible(Status::ReconnectRequired)).await
    }
}

/// Stores the outcome. If no row matched, the attempt has an outcome already or the row has another
/// version: read it again.
async fn confirmed<F>(keep: impl Fn() -> F, renewal: Renewal) -> Result<Progress>
where
    F: Future<Output = Result<bool, StoreError>>,
{
    Ok(if store_outcome(keep).await? {
        Progress::Done(renewal)
    } else {
        Progress::ReadAgain
    })
}

/// Retries storing the outcome; the provider will not issue these tokens again.
async fn store_outcome<F>(keep: impl Fn() -> F) -> Result<bool>
where
    F: Future<Output = Result<bool, StoreError>>,
{
    let mut failure = None;
    let tries = async {
        loop {
            match keep().await {
                Ok(stored) => return stored,
                Err(error) => failure = Some(error),
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
    };
    match tokio::time::timeout(STORE_TIMEOUT, tries).await {
        Ok(stored) => Ok(stored),
        Err(late) => Err(failure.map_or_else(|| Error::StoreUnavailable(late.into()), Error::from)),
    }
}
