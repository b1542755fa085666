//! The OpenID relying party: the authorization code flow with PKCE (OpenID Connect Core section
//! 3.1, RFC 9700), and refresh.

mod discovery;
mod keys;
mod presets;
mod userinfo;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier, Scope};
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::authorization::Authorization;
use super::claims::VerifiedClaims;
use super::grant::{self, Grant, Owner, RefreshError};
use super::requests::Requests;
use super::token_endpoint::{Answer, Failure, OauthClient, RefreshParams, Registration};
use super::{profile, token_endpoint};
use crate::clock::{Clock, Timestamp};
use crate::config::providers::OpenIdProvider;
use crate::error::{Error, Result};
use crate::http::{self, Cached};
use crate::metrics;
use crate::secret::{ExposeSecret as _, SecretString, random_token};
use discovery::Metadata;
use keys::Keys;
use verify::{Expected, NonceRule, Rejected};

/// How long the discovery document is used before it is fetched again.
const METADATA_FRESH: Duration = Duration::from_hours(1);
/// The shortest time between two fetches, so that an outage or ID tokens with unknown keys do not
/// cause a fetch each.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a refresh waits at most for the discovery document and for the keys, also if another
/// call fetches them. Whoever asks for a refresh has a deadline that counts on it.
const STEP: Duration = Duration::from_secs(5);
/// How long a refresh takes at most: for the discovery document and the keys, and for the request,
/// which is sent again if the scopes are refused.
pub const LONGEST_REFRESH: Duration = STEP.saturating_add(http::TOTAL_TIMEOUT).saturating_mul(2);
/// The default of LibreChat's OPENID_MAX_LOGOUT_URL_LENGTH.
const MAX_LOGOUT_URL: usize = 2000;

/// A client of one OpenID provider. It sends no request before one is needed, so the provider may
/// be down when the service starts.
pub struct OpenIdClient {
    config: OpenIdProvider,
    issuer: Url,
    requests: Requests,
    metadata: Cached<Metadata>,
    keys: Keys,
}

impl OpenIdClient {
    /// A client of the configured provider. Fails if the configured issuer is not a URL or TLS
    /// cannot be set up.
    pub fn new(
        config: OpenIdProvider,
        clock: &Clock,
        metrics: &metrics::Providers,
    ) -> Result<Self> {
        let issuer = Url::parse(&config.issuer).map_err(Error::internal)?;
        let http = http::Client::for_issuer(&issuer).map_err(Error::internal)?;
        let metadata = Cached::new(clock.clone(), METADATA_FRESH, PAUSE);
        let keys = Keys::new(clock.clone(), PAUSE);
        let requests = Requests::new(http, clock.clone(), metrics.of(&config.id));
        Ok(Self {
            config,
            issuer,
            requests,
            metadata,
            keys,
        })
    }

    /// The provider's configuration.
    pub fn config(&self) -> &OpenIdProvider {
        &self.config
    }

    /// What is counted of the provider.
    pub fn metrics(&self) -> &metrics::Provider {
        self.requests.metrics()
    }

    /// Whether using a refresh token may invalidate it; false only for providers known not to
    /// rotate.
    pub fn rotates(&self) -> bool {
        presets::for_issuer(&self.issuer).rotates
    }

    /// The issuer exactly as the provider writes it; issuer and subject together make an identity.
    pub async fn issuer(&self) -> Result<String> {
        Ok(self.metadata().await?.issuer.clone())
    }

    /// Begins a login.
    pub async fn authorization(&self) -> Result<Authorization> {
        let (_, client) = self.metadata_and_client().await?;
        let (state, nonce, verifier) = (random_token(), random_token(), random_token());
        let challenge =
            PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.clone()));
        let mut request = client
            .authorize_url(|| CsrfToken::new(state.clone()))
            .set_pkce_challenge(challenge)
            .add_scopes(self.scopes().into_iter().map(Scope::new))
            .add_extra_param("nonce", &nonce);
        for (name, value) in presets::for_issuer(&self.issuer).params {
            request = request.add_extra_param(*name, *value);
        }
        if let Some(audience) = &self.config.audience {
            request = request.add_extra_param("audience", audience);
        }
        let (url, _) = request.url();
        Ok(Authorization {
            url: url.into(),
            state,
            nonce,
            code_verifier: verifier.into(),
        })
    }

    /// Checks the `iss` of a callback, whether it is a success or an error. It must be called
    /// before the rest of the callback is used (RFC 9207 section 2.4).
    pub async fn check_callback_iss(&self, iss: Option<&str>) -> Result<()> {
        let metadata = self.metadata().await?;
        match iss {
            Some(iss) if iss == metadata.issuer => Ok(()),
            None if !metadata.iss_parameter => Ok(()),
            Some(_) => Err(Error::IdTokenInvalid(
                "the callback's iss names another issuer",
            )),
            None => Err(Error::IdTokenInvalid(
                "the callback has no iss, which the provider always sends",
            )),
        }
    }

    /// Exchanges the callback's code for tokens and verifies the ID token.
    pub async fn exchange(
        &self,
        code: &str,
        code_verifier: &SecretString,
        nonce: &str,
        now: Timestamp,
    ) -> Result<(Grant, VerifiedClaims)> {
        let (metadata, client) = self.metadata_and_client().await?;
        let answer = token_endpoint::exchange(&self.requests, &client, code, code_verifier)
            .await
            .map_err(grant::login_error)?;
        let id_token = answer
            .id_token
            .as_ref()
            .ok_or(Error::IdTokenInvalid("the provider sent no ID token"))?;
        let expected = self.expected(&metadata, &answer, NonceRule::Required(nonce), None);
        let mut claims = self
            .verify(id_token, &metadata, &expected, now)
            .await?
            .map_err(|rejected| Error::IdTokenInvalid(rejected.reason()))?;
        if profile::lacks_email(claims.members(), &self.config.claims) {
            self.add_userinfo(&mut claims, &metadata, &answer.access_token)
                .await;
        }
        let expire_time = claims.expire_time();
        let mut grant = Grant::new(&self.config.id, answer, Some(expire_time), now);
        // If the response names no scope, the requested scope was granted (RFC 6749 section 5.1).
        grant.scopes.get_or_insert_with(|| self.scopes());
        Ok((grant, claims))
    }

    /// Renews a user's tokens. If the provider sent an ID token that could be verified, the claims
    /// are what it says, with what is still known of the user from before. The error says whether
    /// the refresh token can still be used.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        owner: &Owner<'_>,
        now: Timestamp,
    ) -> Result<(Grant, Option<VerifiedClaims>), RefreshError> {
        let (metadata, client) = timeout(STEP, self.metadata_and_client())
            .await
            .unwrap_or_else(|late| Err(Error::ProviderUnavailable(late.into())))
            .map_err(|error| RefreshError::Transient(error.into()))?;
        if metadata.issuer != owner.issuer {
            return Err(RefreshError::Transient(
                "the provider's issuer has changed and is no longer that of the identity".into(),
            ));
        }
        let answer = self.use_refresh_token(&client, refresh_token).await;
        let mut answer =
            answer.map_err(|failure| RefreshError::from_failure(failure, self.rotates()))?;
        let claims = match &answer.id_token {
            Some(id_token) => {
                let nonce = owner.claims.get("nonce").and_then(Value::as_str);
                let expected = self.expected(
                    &metadata,
                    &answer,
                    NonceRule::IfPresent(nonce),
                    Some(owner.subject),
                );
                self.verify_refreshed(id_token, &metadata, &expected, now)
                    .await?
                    .map(|claims| claims.after(owner.claims, &self.config.claims))
            }
            None => None,
        };
        if claims.is_none() {
            answer.id_token = None;
        }
        let expire_time = claims.as_ref().map(VerifiedClaims::expire_time);
        Ok((
            Grant::new(&self.config.id, answer, expire_time, now),
            claims,
        ))
    }

    /// Asks for the configured scopes and audience, as LibreChat does. Who signed in before
    /// OPENID_SCOPE was changed, or was granted less, must not lose their sign-in: if the provider
    /// refuses the scopes, it is asked again without them, which means those that it granted.
    async fn use_refresh_token(
        &self,
        client: &OauthClient,
        refresh_token: &SecretString,
    ) -> Result<Answer, Failure> {
        let ask = |scopes| {
            let audience = self.config.refresh_audience.as_deref();
            let params = RefreshParams { scopes, audience };
            token_endpoint::refresh(&self.requests, client, refresh_token, params)
        };
        if !self.config.scopes_on_refresh {
            return ask(Vec::new()).await;
        }
        match ask(self.scopes()).await {
            Err(Failure::Refused(code)) if code == "invalid_scope" => ask(Vec::new()).await,
            answer => answer,
        }
    }

    /// The URL that ends the user's session at the provider, if that is configured and the provider
    /// has such an endpoint (OpenID Connect RP-Initiated Logout section 2).
    pub async fn end_session_url(&self, id_token_hint: Option<&SecretString>) -> Option<String> {
        let end_session = self.config.end_session.as_ref()?;
        let mut url = self.metadata().await.ok()?.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.config.client_id);
        if let Some(redirect_uri) = &end_session.redirect_uri {
            url.query_pairs_mut()
                .append_pair("post_logout_redirect_uri", redirect_uri);
        }
        let without_hint: String = url.clone().into();
        if let Some(hint) = id_token_hint {
            url.query_pairs_mut()
                .append_pair("id_token_hint", hint.expose_secret());
        }
        // Browsers and servers may cut longer URLs. Without the hint the provider asks the user.
        Some(if url.as_str().len() <= MAX_LOGOUT_URL {
            url.into()
        } else {
            without_hint
        })
    }

    /// Adds the claims of userinfo. If it cannot be fetched or used, sign-in goes on without it.
    async fn add_userinfo(
        &self,
        claims: &mut VerifiedClaims,
        metadata: &Metadata,
        access_token: &SecretString,
    ) {
        let Some(url) = &metadata.userinfo_endpoint else {
            return;
        };
        match userinfo::fetch_claims(&self.requests, url, access_token, claims.subject()).await {
            Ok(userinfo) => userinfo::fill_gaps(claims, userinfo, &self.config.claims),
            Err(error) => {
                tracing::warn!(provider = self.config.id, %error, "userinfo could not be used; sign-in goes on without it");
            }
        }
    }

    async fn metadata_and_client(&self) -> Result<(Arc<Metadata>, OauthClient)> {
        let metadata = self.metadata().await?;
        let client = token_endpoint::client(&Registration {
            client_id: &self.config.client_id,
            client_secret: self.config.client_secret.as_ref(),
            auth_method: self.config.auth_method,
            redirect_uri: &self.config.redirect_uri,
            authorization_endpoint: &metadata.authorization_endpoint,
            token_endpoint: &metadata.token_endpoint,
        })?;
        Ok((metadata, client))
    }

    async fn metadata(&self) -> Result<Arc<Metadata>> {
        self.metadata
            .get(discovery::discover(&self.requests, &self.config.issuer))
            .await
            .map_err(Error::ProviderUnavailable)
    }

    /// The configured scopes, and the one that the provider's preset adds.
    fn scopes(&self) -> Vec<String> {
        let extra = presets::for_issuer(&self.issuer)
            .scope
            .filter(|extra| !self.config.scopes.iter().any(|scope| scope == extra));
        self.config
            .scopes
            .iter()
            .cloned()
            .chain(extra.map(str::to_owned))
            .collect()
    }

    fn expected<'a>(
        &'a self,
        metadata: &'a Metadata,
        answer: &'a Answer,
        nonce: NonceRule<'a>,
        subject: Option<&'a str>,
    ) -> Expected<'a> {
        Expected {
            issuer: &metadata.issuer,
            client_id: &self.config.client_id,
            trusted_audiences: &self.config.trusted_audiences,
            algorithms: &self.config.algorithms,
            tolerance: self.config.clock_tolerance,
            access_token: answer.access_token.expose_secret(),
            nonce,
            subject,
        }
    }

    async fn verify(
        &self,
        id_token: &SecretString,
        metadata: &Metadata,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Result<VerifiedClaims, Rejected>> {
        let (requests, jwks_uri) = (&self.requests, &metadata.jwks_uri);
        self.keys
            .verify(requests, jwks_uri, id_token, expected, now)
            .await
    }

    /// Verifies the ID token of a refresh. One that cannot be verified is dropped, as if none had
    /// been sent: the other new tokens must not be lost, for example while the provider replaces
    /// its keys. Only one that is proven wrong is an error.
    async fn verify_refreshed(
        &self,
        id_token: &SecretString,
        metadata: &Metadata,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<Option<VerifiedClaims>, RefreshError> {
        let provider = &self.config.id;
        let verified = timeout(STEP, self.verify(id_token, metadata, expected, now)).await;
        match verified.unwrap_or_else(|late| Err(Error::ProviderUnavailable(late.into()))) {
            Ok(Ok(claims)) => Ok(Some(claims)),
            Ok(Err(Rejected::Wrong(why))) => Err(RefreshError::Invalid(why)),
            Ok(Err(rejected)) => {
                tracing::warn!(
                    provider,
                    reason = rejected.reason(),
                    "a refreshed ID token cannot be verified: it is dropped, and the other new tokens are kept"
                );
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(provider, %error, "the provider's keys cannot be fetched: a refreshed ID token is dropped, and the other new tokens are kept");
                Ok(None)
            }
        }
    }
}

impl fmt::Debug for OpenIdClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenIdClient")
            .field("provider", &self.config.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
