//! The tokens that users' identity providers issued: keeps them, renews them and resolves
//! placeholders to them.

mod answers;
mod attempts;
mod binding;
mod context;
mod destination;
mod in_flight;
mod renewal;
mod resealing;
mod resolve;
mod sealing;
mod status;
mod tokens;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Bounded;

use crate::clock::Clock;
use crate::config::Templates;
use crate::config::providers::Provider as ProviderSettings;
use crate::error::{Error, Result};
use crate::feed::cache::{Affects, Cache, Cached, Entry};
use crate::id::{SessionId, UserId};
use crate::metrics;
use crate::model::provider_tokens::{StoredTokens, TokensKey};
use crate::provider::Provider;
use crate::secret::{Keyring, SecretString};
use crate::store::Store;
use crate::store::StoreError;
use crate::store::announcements::Announcement;
use crate::tasks::Tasks;
use attempts::Attempts;
use in_flight::{InFlight, Renewal, Start};
use tokens::ProviderTokens;

pub use context::ResolveContext;
pub use renewal::LONGEST as LONGEST_RENEWAL;
pub use resealing::TokenResealing;
pub use resolve::MIN_LIFE;
pub use status::{TokenKind, TokenStatus};
pub use vault::Vault;

/// What a session in the cache occupies besides its tokens, in bytes.
const OVERHEAD: usize = 1024;
/// Decrypted tokens that are not used leave the memory after this time.
const IDLE: Duration = Duration::from_mins(1);

/// The tokens of one session.
type SessionTokens = Vec<Arc<ProviderTokens>>;

/// A session's entry in the cache, and the bytes that it occupied when it was read last.
#[derive(Clone, Debug)]
struct InUse {
    entry: Arc<Entry<SessionTokens>>,
    weight: u32,
}

/// What is configured, and how much memory decrypted tokens may occupy, in bytes.
#[derive(Debug)]
pub struct Settings {
    pub providers: Vec<ProviderSettings>,
    pub templates: Templates,
    pub memory: u64,
}

/// Keeps, renews and hands out provider tokens. Clones share everything.
#[derive(Clone, Debug)]
pub struct Federation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    vault: Vault,
    providers: Vec<Provider>,
    templates: Templates,
    cache: Cache<SessionTokens>,
    /// Owns the cache's entries of the sessions in use.
    in_use: Bounded<SessionId, InUse>,
    renewals: InFlight<Start, Renewal>,
    attempts: Attempts,
    tasks: Tasks,
    metrics: Arc<metrics::Providers>,
}

impl Federation {
    /// Builds a client for each provider; a provider is not contacted before it is needed. Tokens
    /// that an earlier version sealed are sealed anew.
    ///
    /// # Errors
    /// If no client can be built from a provider's settings, and the store's errors.
    pub async fn start(
        store: Store,
        keyring: Keyring,
        clock: Clock,
        tasks: Tasks,
        settings: Settings,
        metrics: Arc<metrics::Providers>,
    ) -> Result<Self> {
        let providers = settings
            .providers
            .into_iter()
            .map(|provider| Provider::new(provider, &clock, &metrics))
            .collect::<Result<_>>()?;
        let in_use = Bounded::builder()
            .max_capacity(settings.memory)
            .weigher(|_, used: &InUse| used.weight)
            .time_to_idle(IDLE)
            .build();
        let federation = Self(Arc::new(Inner {
            cache: Cache::new(clock.clone(), store.announcements(), affects),
            in_use,
            store,
            attempts: Attempts::new(clock.clone()),
            clock,
            vault: Vault::new(keyring),
            providers,
            templates: settings.templates,
            renewals: InFlight::new(tasks.clone()),
            tasks,
            metrics,
        }));
        sealing::seal_anew(&federation.0.store, &federation.0.vault).await?;
        Ok(federation)
    }

    /// Shows the cache of decrypted tokens in the metrics.
    pub fn show(&self, caches: &metrics::Caches) {
        let (entries, bytes) = (self.0.in_use.clone(), self.0.in_use.clone());
        let most = self.0.in_use.policy().max_capacity();
        caches.follow(
            metrics::Cache::ProviderTokens,
            move || {
                // Removes what was not used, too, which otherwise waits for the next calls.
                entries.run_pending_tasks();
                entries.entry_count()
            },
            move || bytes.weighted_size(),
            most.unwrap_or_default(),
        );
    }

    /// The providers, in the order of configuration.
    pub fn providers(&self) -> &[Provider] {
        &self.0.providers
    }

    /// The vault that seals and opens tokens.
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The ID token that tells the provider whose session to end (`id_token_hint`); `None` if the
    /// provider's logout needs none. It has to be read before the tokens are deleted.
    ///
    /// If the tokens cannot be read, there is no hint and no error, because the session has to end
    /// all the same.
    pub async fn logout_hint(&self, session: &SessionId, provider: &str) -> Option<SecretString> {
        Provider::find(self.providers(), provider)
            .ok()
            .filter(|provider| provider.wants_logout_hint())?;
        let tokens = self.tokens(session).await.unwrap_or_else(|error| {
            tracing::warn!(%session, error = &error as &dyn std::error::Error, "the provider tokens cannot be read; the logout goes on without the ID token");
            Arc::default()
        });
        tokens
            .iter()
            .find(|tokens| tokens.provider == provider)?
            .id_token
            .as_ref()
            .map(|token| token.text.clone())
    }

    /// The URL at which the browser can end the provider's own session, if that is configured and
    /// the provider has one. To find it, the provider may be contacted.
    pub async fn end_session_url(
        &self,
        provider: &str,
        hint: Option<&SecretString>,
    ) -> Option<String> {
        let provider = Provider::find(self.providers(), provider).ok()?;
        provider.end_session_url(hint).await
    }

    /// The tokens of a session whose providers are configured, from memory if they are fresh there.
    async fn tokens(&self, session: &SessionId) -> Result<Arc<SessionTokens>> {
        let used = self
            .0
            .in_use
            .get_with_by_ref(session, || InUse::new(self.0.cache.entry(session), &[]));
        let read = |session: SessionId| {
            let inner = Arc::clone(&self.0);
            async move {
                let stored = inner.store.list_federated_tokens(&session).await?;
                let open = |(key, stored)| inner.open_or_log(&key, stored);
                let opened = stored.into_iter().filter_map(open);
                let usable = opened.filter(|tokens| inner.is_configured(tokens));
                Ok(Some(usable.map(Arc::new).collect()))
            }
        };
        let tokens = self.0.cache.get(&used.entry, read).await?;
        let tokens = tokens.unwrap_or_default();
        let read = InUse::new(Arc::clone(&used.entry), &tokens);
        if read.weight != used.weight {
            self.0.in_use.insert(session.clone(), read);
        }
        Ok(tokens)
    }
}

impl InUse {
    fn new(entry: Arc<Entry<SessionTokens>>, tokens: &[Arc<ProviderTokens>]) -> Self {
        let weight = OVERHEAD + tokens.iter().map(|tokens| tokens.weight).sum::<usize>();
        Self {
            entry,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
        }
    }
}

impl Inner {
    fn is_configured(&self, tokens: &ProviderTokens) -> bool {
        let mut providers = self.providers.iter();
        providers.any(|provider| provider.is(&tokens.provider, &tokens.issuer))
    }

    /// Opens a row. One that was changed, or sealed with an unknown key, is left out, as if its
    /// tokens had been deleted, so that the session's other tokens can be used.
    fn open_or_log(
        &self,
        key: &TokensKey,
        stored: Result<StoredTokens, StoreError>,
    ) -> Option<ProviderTokens> {
        let opened = stored
            .map_err(Error::from)
            .and_then(|stored| self.vault.open(stored));
        opened
            .inspect_err(|error| {
                let (session, identity) = (&key.session_id, &key.identity_id);
                tracing::error!(%session, %identity, error = error as &dyn std::error::Error, "stored provider tokens do not open; the user has to sign in again");
            })
            .ok()
    }
}

impl Cached for SessionTokens {
    type Note = ();

    fn user(&self) -> Option<&UserId> {
        self.first().map(|tokens| &tokens.user_id)
    }
}

fn affects(change: &Announcement) -> Affects<'_> {
    match change {
        Announcement::SessionRevoked(session) | Announcement::TokensChanged(session) => {
            Affects::Session(session)
        }
        Announcement::UserChanged(user) | Announcement::TokensOfUserChanged(user) => {
            Affects::User(user)
        }
        Announcement::KeyRevoked(_) | Announcement::KeysChanged => Affects::Nothing,
        Announcement::Everything => Affects::Everything,
    }
}

#[cfg(test)]
mod prove;
