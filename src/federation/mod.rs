//! The user's own tokens at their identity providers, and the placeholders that stand for them.

pub mod header;
mod held;
mod memory;
pub mod oidc;
pub mod placeholder;
pub mod render;
mod renew;
pub mod request;
pub mod resolve;
mod sink;
mod status;
pub mod target;
mod url;
mod values;
pub mod vocabulary;

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Templates;
use crate::config::providers::OpenIdProvider;
use crate::error::{Error, Result};
use crate::id::SessionId;
use crate::secret::{Keyring, SecretString};
use crate::store::Store;
use held::Held;
use memory::Memory;
use oidc::OpenIdClient;
use renew::Flights;

pub use held::Vault;
pub use status::{TokenKind, TokenStatus};

/// Keeps, renews and hands out provider tokens. Clones share everything.
#[derive(Clone, Debug)]
pub struct Federation(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    vault: Vault,
    providers: Vec<OpenIdClient>,
    templates: Templates,
    memory: Memory,
    flights: Flights,
}

impl Federation {
    /// Takes the providers over; none is asked before it is needed.
    ///
    /// # Errors
    /// Where a provider's settings make no client.
    pub fn start(
        store: Store,
        keyring: Keyring,
        clock: Clock,
        providers: Vec<OpenIdProvider>,
        templates: Templates,
    ) -> Result<Self> {
        let providers = providers
            .into_iter()
            .map(|provider| OpenIdClient::new(provider, &clock))
            .collect::<Result<_>>()?;
        let memory = Memory::default();
        memory.follow(store.changes());
        Ok(Self(Arc::new(Inner {
            store,
            clock,
            vault: Vault::new(keyring),
            providers,
            templates,
            memory,
            flights: Flights::default(),
        })))
    }

    /// The providers, in the order of configuration.
    #[must_use]
    pub fn providers(&self) -> &[OpenIdClient] {
        &self.0.providers
    }

    /// The provider of an id.
    ///
    /// # Errors
    /// [`Error::ProviderNotFound`].
    pub fn provider(&self, id: &str) -> Result<&OpenIdClient> {
        self.0
            .providers
            .iter()
            .find(|client| client.config().id == id)
            .ok_or(Error::ProviderNotFound)
    }

    /// Where tokens are sealed and opened.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.0.vault
    }

    /// The ID token that tells the provider whose session ends, to be taken before the tokens go; `None` where nothing asks for it.
    ///
    /// It is a hint and no more: tokens that cannot be read must not keep a session alive.
    pub async fn logout_hint(&self, session: &SessionId, provider: &str) -> Option<SecretString> {
        self.provider(provider)
            .ok()
            .filter(|client| client.config().use_end_session_endpoint)?;
        let held = self.held(session).await.unwrap_or_else(|error| {
            tracing::warn!(%session, error = &error as &dyn std::error::Error, "a logout goes without the ID token");
            Arc::default()
        });
        held.iter()
            .find(|held| held.provider == provider)?
            .id_token
            .as_ref()
            .map(|token| token.text.clone())
    }

    /// Where the browser can end the provider's own session, if that is configured and the provider says where; it may be asked for it.
    pub async fn end_session_url(
        &self,
        provider: &str,
        hint: Option<&SecretString>,
    ) -> Option<String> {
        self.provider(provider).ok()?.end_session_url(hint).await
    }

    /// The tokens of a session, from memory where they are fresh.
    async fn held(&self, session: &SessionId) -> Result<Arc<Vec<Arc<Held>>>> {
        let elapsed = self.0.clock.elapsed();
        if let Some(held) = self.0.memory.recall(session, elapsed) {
            return Ok(held);
        }
        let mark = self.0.memory.mark();
        let stored = self.0.store.list_federated_tokens(session).await?;
        let opened = stored
            .into_iter()
            .map(|tokens| self.0.vault.open(tokens).map(Arc::new))
            .collect::<Result<_>>()?;
        let held = Arc::new(opened);
        self.0.memory.keep(session, mark, &held, elapsed);
        Ok(held)
    }
}
