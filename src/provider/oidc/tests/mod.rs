mod login;
mod provider;
mod refresh;
mod upkeep;

use serde_json::{Value, json};

use super::*;
use crate::config::providers::{ClaimNames, ClientAuth, EndSession, SigningAlg};
use crate::metrics::Metrics;
use provider::{Provider, ok, signed};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn provider_config(issuer: &str) -> OpenIdProvider {
    OpenIdProvider {
        id: "openid".into(),
        client_id: "chat".into(),
        client_secret: Some("s3cret".into()),
        issuer: issuer.into(),
        scopes: vec!["openid".into(), "profile".into(), "email".into()],
        scopes_on_refresh: false,
        redirect_uri: "https://chat.example/oauth/openid/callback".into(),
        audience: None,
        refresh_audience: None,
        trusted_audiences: Vec::new(),
        auth_method: ClientAuth::Basic,
        algorithms: vec![SigningAlg::Rs256],
        clock_tolerance: Duration::from_mins(1),
        allow_registration: true,
        email_trusted: false,
        display_name: "Login".into(),
        icon_url: String::new(),
        claims: ClaimNames::default(),
        end_session: None,
    }
}

/// A client and the provider that it talks to.
struct Idp {
    provider: Provider,
    client: OpenIdClient,
    clock: Clock,
}

impl Idp {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(discovery: impl FnOnce(&mut Value)) -> Self {
        let provider = Provider::start().await;
        provider.discovery(discovery);
        let config = provider_config(&provider.issuer);
        Self::of(provider, config)
    }

    fn of(provider: Provider, config: OpenIdProvider) -> Self {
        let clock = Clock::manual(NOW);
        let metrics = Metrics::new(&clock);
        let client = OpenIdClient::new(config, &clock, &metrics.providers).expect("a client");
        Self {
            provider,
            client,
            clock,
        }
    }

    fn claims(&self) -> Value {
        json!({
            "iss": self.provider.issuer,
            "sub": "ann-1",
            "aud": "chat",
            "exp": NOW.secs() + 3600,
            "iat": NOW.secs(),
            "nonce": "n-1",
            "email": "ann@x.example",
        })
    }

    /// Logs in with changed claims in the ID token; a claim set to null is left out.
    async fn login_with(&self, change: impl FnOnce(&mut Value)) -> Result<(Grant, VerifiedClaims)> {
        self.answers_with(change);
        self.exchange().await
    }

    /// Lets the token endpoint answer with changed claims in the ID token; a claim set to null is
    /// left out.
    fn answers_with(&self, change: impl FnOnce(&mut Value)) {
        let mut claims = self.claims();
        change(&mut claims);
        claims
            .as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        self.provider.token(answer_with(&signed(
            &json!({"alg": "RS256", "kid": "k1", "typ": "JWT"}),
            &claims,
        )));
    }

    async fn exchange(&self) -> Result<(Grant, VerifiedClaims)> {
        self.client
            .exchange("c0de", &"verifier".into(), "n-1", NOW)
            .await
    }

    async fn refresh(&self) -> Result<(Grant, Option<VerifiedClaims>), RefreshError> {
        let known = json!({"nonce": "n-1", "email": "ann@x.example", "groups": ["admin"]});
        let owner = Owner {
            issuer: &self.provider.issuer,
            subject: "ann-1",
            claims: known.as_object().expect("an object"),
        };
        self.client.refresh(&"rt-1".into(), &owner, NOW).await
    }
}

fn answer_with(id_token: &str) -> Vec<u8> {
    ok(
        &json!({"access_token": "at-1", "token_type": "bearer", "expires_in": 3600, "refresh_token": "rt-1", "id_token": id_token}),
    )
}
