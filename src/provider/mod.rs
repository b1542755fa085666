//! The providers that sign users in: one enum over their kinds.

mod authentication;
mod authorization;
mod carry_over;
mod claims;
mod fetch;
mod grant;
mod normalize;
mod oidc;
mod profile;
mod requests;
mod token_endpoint;

use serde_json::{Map, Value};

use crate::clock::{Clock, Timestamp};
use crate::config::providers::{Provider as Settings, normalized_issuer};
use crate::error::{Error, Result};
use crate::metrics;
use crate::secret::SecretString;
use oidc::OpenIdClient;

pub use authorization::Authorization;
pub use claims::VerifiedClaims;
pub use grant::{Grant, Owner, RefreshError};
pub use oidc::LONGEST_REFRESH;
pub use profile::ClaimedProfile;

/// A provider that signs users in. No request is sent to it before one is needed, so it may be down
/// when the service starts.
#[derive(Debug)]
pub enum Provider {
    /// OpenID Connect; Google, Entra and others are presets of this kind.
    OpenId(Box<OpenIdClient>),
}

impl Provider {
    /// A client of a configured provider. Fails if its settings are unusable.
    pub fn new(settings: Settings, clock: &Clock, metrics: &metrics::Providers) -> Result<Self> {
        match settings {
            Settings::OpenId(settings) => OpenIdClient::new(settings, clock, metrics)
                .map(Box::new)
                .map(Self::OpenId),
        }
    }

    /// Finds a provider by its id.
    pub fn find<'a>(providers: &'a [Self], id: &str) -> Result<&'a Self> {
        providers
            .iter()
            .find(|provider| provider.id() == id)
            .ok_or(Error::ProviderNotFound)
    }

    /// Whether it is the provider with this id and issuer: an id may be given to another issuer in
    /// the configuration, and tokens of the one before are not its tokens.
    pub fn is(&self, id: &str, issuer: &str) -> bool {
        match self {
            Self::OpenId(client) => {
                let configured = normalized_issuer(&client.config().issuer);
                client.config().id == id && normalized_issuer(issuer) == configured
            }
        }
    }

    /// The id by which callers name the provider.
    pub fn id(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().id,
        }
    }

    /// Its kind, as `ListProviders` returns it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OpenId(_) => "openid",
        }
    }

    /// The label of its button.
    pub fn display_name(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().display_name,
        }
    }

    /// The URL of its button's icon; empty if none is configured.
    pub fn icon_url(&self) -> &str {
        match self {
            Self::OpenId(client) => &client.config().icon_url,
        }
    }

    /// What is counted of it.
    pub fn metrics(&self) -> &metrics::Provider {
        match self {
            Self::OpenId(client) => client.metrics(),
        }
    }

    /// Whether a sign-in may create an account.
    pub fn allows_registration(&self) -> bool {
        match self {
            Self::OpenId(client) => client.config().allow_registration,
        }
    }

    /// Whether using a refresh token may invalidate it; false only for providers known not to
    /// rotate.
    pub fn rotates(&self) -> bool {
        match self {
            Self::OpenId(client) => client.rotates(),
        }
    }

    /// Whether [`Self::end_session_url`] uses the session's ID token (`id_token_hint`).
    pub fn wants_logout_hint(&self) -> bool {
        match self {
            Self::OpenId(client) => client.config().end_session.is_some(),
        }
    }

    /// The issuer exactly as the provider writes it; issuer and subject together make an identity.
    pub async fn issuer(&self) -> Result<String> {
        match self {
            Self::OpenId(client) => client.issuer().await,
        }
    }

    /// Begins a login.
    pub async fn authorization(&self) -> Result<Authorization> {
        match self {
            Self::OpenId(client) => client.authorization().await,
        }
    }

    /// Checks the `iss` of a callback, whether it is a success or an error. It must be called
    /// before the rest of the callback is used (RFC 9207 section 2.4).
    ///
    /// # Errors
    /// [`Error::IdTokenInvalid`] if `iss` is wrong, or missing although the provider always sends
    /// it.
    pub async fn check_callback_iss(&self, iss: Option<&str>) -> Result<()> {
        match self {
            Self::OpenId(client) => client.check_callback_iss(iss).await,
        }
    }

    /// Exchanges the callback's code for tokens and verifies the ID token.
    ///
    /// # Errors
    /// [`Error::ProviderRefused`] if the provider refuses the code.
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

    /// Renews a user's tokens. If the provider sent an ID token that could be verified, the claims
    /// are what it says, with what is still known of the user from before.
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

    /// The URL that ends the user's session at the provider, if that is configured and the provider
    /// has such an endpoint.
    pub async fn end_session_url(&self, id_token_hint: Option<&SecretString>) -> Option<String> {
        match self {
            Self::OpenId(client) => client.end_session_url(id_token_hint).await,
        }
    }

    /// The profile that verified claims describe.
    pub fn profile(&self, claims: &Map<String, Value>) -> ClaimedProfile {
        match self {
            Self::OpenId(client) => {
                let mut profile = profile::profile(claims, &client.config().claims);
                profile.email_verified |= client.config().email_trusted && profile.email.is_some();
                profile
            }
        }
    }
}
