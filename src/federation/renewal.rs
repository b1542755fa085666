//! Renews provider tokens: once for all calls that need it, in a task that goes on if a call is
//! cancelled.
//!
//! A provider may rotate its refresh tokens, so one must not be sent twice: the attempt is
//! committed before the request, and an attempt whose outcome is unknown is repeated only if the
//! provider does not rotate.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Federation;
use super::attempts::LEASE;
use super::in_flight::Renewal;
use super::tokens::ProviderTokens;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::metrics::Renewed;
use crate::model::provider_tokens::{SealedState, TokenState, TokensKey};
use crate::provider::{LONGEST_REFRESH, Owner, Provider, RefreshError};
use crate::secret::SecretString;
use crate::store::StoreError;
use crate::template::vocabulary::Status;

/// How long an attempt may take, from before it is committed until its outcome is stored: shorter
/// than the lease, so that no other process takes it for dead before.
const DEADLINE: Duration = LEASE.saturating_sub(Duration::from_secs(5));
/// How long the provider may take at most, and a second for what is done in between.
const EXCHANGE: Duration = LONGEST_REFRESH.saturating_add(Duration::from_secs(1));
/// After a failure the provider is not asked again for this long.
const BACKOFF: Duration = Duration::from_secs(30);
/// The pause between reads of the row while another process renews it, and the number of reads: 8
/// seconds in all.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const POLLS: usize = 80;
/// The pause before storing an outcome is retried.
const STORE_RETRY: Duration = Duration::from_millis(250);
/// Even if the deadline is over, an outcome is tried to be stored for this long.
const LAST_TRY: Duration = Duration::from_secs(2);
/// How long an attempt may take in all.
pub const LONGEST: Duration = DEADLINE.saturating_add(LAST_TRY);
/// The provider's part leaves time to commit the attempt, and all of it ends before the lease.
const _: () =
    assert!(EXCHANGE.as_millis() < DEADLINE.as_millis() && LONGEST.as_millis() < LEASE.as_millis());
/// How long a caller should wait if it is not known when the tokens can be renewed.
const RETRY: Duration = Duration::from_secs(1);

/// The result of one step of a renewal.
enum Progress {
    Done(Renewal),
    /// Another process's attempt is in flight, or the row has changed: read it again.
    ReadAgain,
}

/// An attempt of this process.
struct Attempt<'a> {
    federation: &'a Federation,
    tokens: &'a ProviderTokens,
    /// The seal of the attempt's state, which tells it from others.
    seal: Vec<u8>,
    /// When its outcome must be stored, on the monotonic clock.
    deadline: Duration,
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
            .unwrap_or(Renewal::Unavailable { retry_after: RETRY })
    }

    async fn run_renewal(&self, key: &TokensKey, version: i64) -> Renewal {
        for _ in 0..POLLS {
            match self.step(key, version).await {
                Ok(Progress::Done(renewal)) => return renewal,
                Ok(Progress::ReadAgain) => sleep(POLL_INTERVAL).await,
                Err(error) => {
                    tracing::warn!(session = %key.session_id, error = &error as &dyn std::error::Error, "provider tokens could not be renewed");
                    return Renewal::Unavailable { retry_after: RETRY };
                }
            }
        }
        Renewal::Unavailable { retry_after: RETRY }
    }

    async fn step(&self, key: &TokensKey, version: i64) -> Result<Progress> {
        let stored = self.0.store.list_federated_tokens(&key.session_id).await?;
        let Some((_, stored)) = stored.into_iter().find(|(found, _)| found == key) else {
            return Ok(Progress::Done(Renewal::Impossible(Status::Missing)));
        };
        let tokens = self.0.vault.open(stored?)?;
        let now = self.0.clock.now();
        match tokens.state {
            _ if tokens.version != version => {
                self.0.cache.forget(&key.session_id);
                Ok(Progress::Done(Renewal::Renewed))
            }
            TokenState::ReconnectRequired => Ok(Progress::Done(Renewal::Impossible(
                Status::ReconnectRequired,
            ))),
            TokenState::Backoff { retry } if now < retry => {
                let retry_after = now.until(retry);
                Ok(Progress::Done(Renewal::Unavailable { retry_after }))
            }
            TokenState::Refreshing if !self.0.attempts.is_dead(&tokens) => Ok(Progress::ReadAgain),
            TokenState::Refreshing if self.rotates(&tokens) => {
                Attempt::dead(self, &tokens)
                    .give_up("the outcome of an earlier attempt is unknown")
                    .await
            }
            TokenState::Active | TokenState::Backoff { .. } | TokenState::Refreshing => {
                self.attempt(&tokens, now).await
            }
        }
    }

    /// Whether the provider may have invalidated a refresh token that was sent; assumed if the
    /// provider is no longer configured.
    fn rotates(&self, tokens: &ProviderTokens) -> bool {
        Provider::find(self.providers(), &tokens.provider).map_or(true, Provider::rotates)
    }

    async fn attempt(&self, tokens: &ProviderTokens, now: Timestamp) -> Result<Progress> {
        let Some(refresh_token) = &tokens.refresh_token else {
            return Ok(Progress::Done(Renewal::Impossible(Status::Expired)));
        };
        let Ok(provider) = Provider::find(self.providers(), &tokens.provider) else {
            return Ok(Progress::Done(Renewal::Impossible(
                Status::ReconnectRequired,
            )));
        };
        if self.0.tasks.is_stopping() {
            // The stop waits only as long as one that is under way may take.
            let renewal = Renewal::Unavailable { retry_after: RETRY };
            return Ok(Progress::Done(renewal));
        }
        match Attempt::begin(self, tokens).await? {
            Some(attempt) if self.0.clock.elapsed() + EXCHANGE <= attempt.deadline => {
                attempt.exchange(provider, refresh_token, now).await
            }
            Some(attempt) => attempt.take_back().await,
            None => Ok(Progress::ReadAgain),
        }
    }
}

impl<'a> Attempt<'a> {
    /// Commits an attempt; `None` if the row has changed since these tokens were read.
    async fn begin(federation: &'a Federation, tokens: &'a ProviderTokens) -> Result<Option<Self>> {
        let deadline = federation.0.clock.elapsed() + DEADLINE;
        let begun = federation
            .0
            .vault
            .seal_state(tokens, TokenState::Refreshing);
        let store = &federation.0.store;
        let stored = store
            .set_token_state(&tokens.key, &tokens.state_seal, &begun)
            .await;
        let attempt = Self {
            federation,
            tokens,
            seal: begun.seal,
            deadline,
        };
        match stored {
            Ok(true) => Ok(Some(attempt)),
            Ok(false) => Ok(None),
            Err(error) => {
                attempt.take_back_later();
                Err(error.into())
            }
        }
    }

    /// The attempt of another process.
    fn dead(federation: &'a Federation, tokens: &'a ProviderTokens) -> Self {
        Self {
            federation,
            tokens,
            seal: tokens.state_seal.clone(),
            deadline: federation.0.clock.elapsed() + DEADLINE,
        }
    }

    async fn exchange(
        &self,
        provider: &Provider,
        refresh_token: &SecretString,
        now: Timestamp,
    ) -> Result<Progress> {
        let (federation, tokens) = (&self.federation.0, self.tokens);
        let owner = Owner {
            issuer: &tokens.issuer,
            subject: &tokens.subject,
            claims: &tokens.claims,
        };
        // The lifetime of new tokens counts from `now`, before the provider issued them; what waits
        // for the answer's sake counts from when it came.
        let refreshed = provider.refresh(refresh_token, &owner, now).await;
        let answer_time = federation.clock.now();
        match refreshed {
            Ok((grant, claims)) => {
                let sealed =
                    &federation
                        .vault
                        .seal_refresh(tokens, &grant, claims.as_ref(), answer_time);
                let (store, key) = (&federation.store, &tokens.key);
                let keep = || store.complete_token_refresh(key, tokens.version, sealed);
                self.confirmed(keep, Renewed::Renewed, Renewal::Renewed)
                    .await
            }
            Err(RefreshError::Refused(_)) => self.refused().await,
            Err(RefreshError::InDoubt(_)) => {
                self.give_up("the provider's answer to a refresh was lost")
                    .await
            }
            Err(RefreshError::Invalid(reason)) => self.give_up(reason).await,
            Err(RefreshError::Transient(_)) => {
                let retry = answer_time.plus(BACKOFF);
                let retry_after = BACKOFF;
                let renewal = Renewal::Unavailable { retry_after };
                let state = TokenState::Backoff { retry };
                self.end(state, Renewed::Backoff, renewal).await
            }
        }
    }

    /// Ends an attempt for which nothing was sent.
    async fn take_back(&self) -> Result<Progress> {
        let renewal = Renewal::Unavailable { retry_after: RETRY };
        self.end(TokenState::Active, Renewed::Postponed, renewal)
            .await
    }

    /// Ends an attempt of which it is not known whether it was committed. If it was and stayed
    /// there, it would later count as one that used the refresh token. The call does not wait for
    /// this.
    fn take_back_later(self) {
        let state = self.sealed(TokenState::Active);
        let (federation, key) = (self.federation.clone(), self.tokens.key.clone());
        let (left, seal) = (self.left(), self.seal);
        self.federation.0.tasks.spawn(async move {
            let keep = || federation.0.store.set_token_state(&key, &seal, &state);
            if let Err(error) = store_outcome(left, keep).await {
                tracing::warn!(session = %key.session_id, error = &error as &dyn std::error::Error, "a renewal that was not begun could not be taken back");
            }
        });
    }

    async fn give_up(&self, reason: &str) -> Result<Progress> {
        self.log_reconnect(reason);
        let renewal = Renewal::Impossible(Status::ReconnectRequired);
        let state = TokenState::ReconnectRequired;
        self.end(state, Renewed::ReconnectRequired, renewal).await
    }

    /// Ends an attempt whose refresh token the provider refused: it is of no more use.
    async fn refused(&self) -> Result<Progress> {
        self.log_reconnect("the provider refused the refresh token");
        let (key, state) = (&self.tokens.key, self.sealed(TokenState::ReconnectRequired));
        let store = &self.federation.0.store;
        let keep = || store.erase_refresh_token(key, &self.seal, &state);
        let renewal = Renewal::Impossible(Status::ReconnectRequired);
        self.confirmed(keep, Renewed::ReconnectRequired, renewal)
            .await
    }

    async fn end(&self, state: TokenState, counted: Renewed, renewal: Renewal) -> Result<Progress> {
        let (key, state) = (&self.tokens.key, self.sealed(state));
        let store = &self.federation.0.store;
        let keep = || store.set_token_state(key, &self.seal, &state);
        self.confirmed(keep, counted, renewal).await
    }

    /// How long storing the outcome may take.
    fn left(&self) -> Duration {
        let now = self.federation.0.clock.elapsed();
        self.deadline.saturating_sub(now).max(LAST_TRY)
    }

    fn sealed(&self, state: TokenState) -> SealedState {
        self.federation.0.vault.seal_state(self.tokens, state)
    }

    fn log_reconnect(&self, reason: &str) {
        let tokens = self.tokens;
        tracing::warn!(session = %tokens.key.session_id, provider = tokens.provider, reason, "the user has to sign in at the provider again");
    }

    fn count(&self, renewed: Renewed) {
        let providers = self.federation.providers();
        if let Ok(provider) = Provider::find(providers, &self.tokens.provider) {
            provider.metrics().renewal(renewed);
        }
    }

    /// Stores the outcome. If no row matched, the attempt has an outcome already or the row has
    /// another version: read it again.
    async fn confirmed<F>(
        &self,
        keep: impl Fn() -> F,
        counted: Renewed,
        renewal: Renewal,
    ) -> Result<Progress>
    where
        F: Future<Output = Result<bool, StoreError>>,
    {
        let stored = store_outcome(self.left(), keep).await;
        match stored {
            Ok(true) => self.count(counted),
            Ok(false) => {}
            Err(_) => self.count(Renewed::NotStored),
        }
        Ok(if stored? {
            Progress::Done(renewal)
        } else {
            Progress::ReadAgain
        })
    }
}

/// Retries storing the outcome; the provider will not issue these tokens again.
async fn store_outcome<F>(limit: Duration, keep: impl Fn() -> F) -> Result<bool>
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
            sleep(STORE_RETRY).await;
        }
    };
    match timeout(limit, tries).await {
        Ok(stored) => Ok(stored),
        Err(late) => Err(failure.map_or_else(|| Error::StoreUnavailable(late.into()), Error::from)),
    }
}
