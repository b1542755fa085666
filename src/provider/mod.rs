//! Who signs users in: one enum over the kinds of provider.

mod authorization;
mod cached;
mod fetch;
mod grant;
mod normalize;
mod oidc;
mod profile;
mod token_endpoint;

use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::config::providers::Provider as Settings;
use crate::error::{Error, Result};
use crate::secret::SecretString;
use oidc::OpenIdClient;

pub use authorization::Authorization;
pub use grant::{Grant, Owner, RefreshError};
pub use oidc::VerifiedClaims;
pub use profile::ClaimedProfile;

/// A provider that signs users in. Nothing is asked of it before it is needed, so that it may be down when the service starts.
#[derive(Debug)]
pub enum Provider {
    /// OpenID Connect; Google, Entra and others are presets of it.
    OpenId(Box<OpenIdClient>),
}

impl Provider {
    /// A client of a configured provider.
    ///
    /// # Errors
    /// [`Error::Internal`] if its settings make no client.
    pub fn new(settings: Settings, clock: &Clock) -> Result<Self> {
        match settings {
            Settings::OpenId(settings) => OpenIdClient::new(settings, clock)
                .map(Box::new)
                .map(Self::OpenId),
        }
    }

    /// The provider of an id.
    ///
    /// # Errors
    /// [`Error::ProviderNotFound`].
    pub fn find<'a>(providers: &'a [Self], id: &str) -> Result<&'a Self> {
        providers
            .iter()
            .find(|provider| provider.id() == id)
            .ok_or(Error::ProviderNotFound)
    }

    /// The id that callers name it by.
    pub fn id(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().id,
        }
    }

    /// Its kind, as `ListProviders` tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OpenId(_) => "openid",
        }
    }

    /// What its button says.
    pub fn display_name(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().display_name,
        }
    }

    /// What its button shows; empty if nothing is configured.
    pub fn icon_url(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().icon_url,
        }
    }

    /// Whether a sign-in may make an account.
    pub fn allows_registration(&self) -> bool {
        match self {
            Self::OpenId(client) => client.config().allow_registration,
        }
    }

    /// Whether a refresh token that was used may be dead, as it is not at providers that are known to keep theirs.
    pub fn rotates(&self) -> bool {
        match self {
            Self::OpenId(client) => client.rotates(),
        }
    }

    /// Whether a logout asks for the ID token of the session (`id_token_hint`).
    pub fn wants_logout_hint(&self) -> bool {
        match self {
            Self::OpenId(client) => client.config().use_end_session_endpoint,
        }
    }

    /// The issuer's exact text as the provider writes it: the first half of an identity.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`].
    pub async fn issuer(&self) -> Result<String> {
        match self {
            Self::OpenId(client) => client.issuer().await,
        }
    }

    /// Begins a login.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`].
    pub async fn authorization(&self) -> Result<Authorization> {
        match self {
            Self::OpenId(client) => client.authorization().await,
        }
    }

    /// Checks the callback's `iss`, of successes and errors alike, before anything else is done with it (RFC 9207 section 2.4).
    ///
    /// # Errors
    /// [`Error::IdTokenInvalid`], [`Error::ProviderUnavailable`].
    pub async fn check_callback_iss(&self, iss: Option<&str>) -> Result<()> {
        match self {
            Self::OpenId(client) => client.check_callback_iss(iss).await,
        }
    }

    /// Exchanges the callback's code for tokens and verifies who signed in.
    ///
    /// # Errors
    /// [`Error::ProviderRefused`], [`Error::IdTokenInvalid`], [`Error::ProviderUnavailable`].
    pub async fn exchange(
        &self,
        code: &str,
        code_verifier: &SecretString,
        nonce: &str,
        now: Timestamp,
    ) -> Result<(Grant, VerifiedClaims)> {
        match self {
            Self::OpenId(client) => client.exchange(code, code_verifier, nonce, now).await,
        }
    }

    /// Renews a user's tokens. The claims are those of a new ID token, if one came and could be verified.
    ///
    /// # Errors
    /// [`RefreshError`], which says whether the refresh token can still be used.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        owner: &Owner<'_>,
        now: Timestamp,
    ) -> Result<(Grant, Option<VerifiedClaims>), RefreshError> {
        match self {
            Self::OpenId(client) => client.refresh(refresh_token, owner, now).await,
        }
    }

    /// Where the browser can end the user's session at the provider, if that is configured and the provider has such a place.
    pub async fn end_session_url(&self, id_token_hint: Option<&SecretString>) -> Option<String> {
        match self {
            Self::OpenId(client) => client.end_session_url(id_token_hint).await,
        }
    }

    /// What verified claims say about the user.
    pub fn profile(&self, claims: &Map<String, Value>) -> ClaimedProfile {
        match self {
            Self::OpenId(client) => profile::profile(claims, client.config()),
        }
    }
}
