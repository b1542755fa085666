//! Users of a provider: signing them in, and resolving the placeholders of their tokens.

use std::collections::{BTreeMap, HashMap};

use countersign::grpc::proto::*;
use tonic::Status;
use tonic_types::StatusExt as _;
use url::Url;

use super::calls::{authorization_url, by_token, settings_of};
use super::engine::Engine;
use super::hostile::Hostile;
use super::world::World;
use super::{calls, client};

/// A parameter of an authorization URL.
pub fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    let found = url.query_pairs().find(|(key, _)| key == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {url}"))
        .1
        .into_owned()
}

/// Reason, entry and placeholder of each failure to resolve, sorted.
pub fn failures(status: &Status) -> Vec<(String, String, String)> {
    let failure = status
        .get_details_precondition_failure()
        .unwrap_or_else(|| panic!("no PreconditionFailure in {status:?}"));
    let mut failures: Vec<_> = failure
        .violations
        .into_iter()
        .map(|one| (one.r#type, one.subject, one.description))
        .collect();
    failures.sort();
    failures
}

/// A request to resolve entries for the user of an access token.
pub fn wish(
    access_token: &str,
    sink: Sink,
    entries: &[(&str, &str)],
) -> ResolvePlaceholdersRequest {
    let entries = entries
        .iter()
        .map(|(name, template)| ((*name).to_owned(), (*template).to_owned()))
        .collect();
    ResolvePlaceholdersRequest {
        subject: by_token(access_token),
        sink: sink.into(),
        entries,
        ..Default::default()
    }
}

/// A map for `custom_vars`.
pub fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The status of each outcome by entry and placeholder.
pub fn statuses(outcomes: &[PlaceholderOutcome]) -> BTreeMap<(&str, &str), OutcomeStatus> {
    outcomes
        .iter()
        .map(|one| ((one.entry.as_str(), one.placeholder.as_str()), one.status()))
        .collect()
}

impl<'a> World<'a> {
    /// Restarts the service with the same database, but with no provider configured.
    pub async fn restart_without_provider(&mut self) {
        for name in [
            "OPENID_CLIENT_ID",
            "OPENID_CLIENT_SECRET",
            "OPENID_ISSUER",
            "OPENID_SCOPE",
        ] {
            self.set(name, "");
        }
        self.restart().await;
    }

    /// A service that trusts an issuer, with `more` settings.
    pub async fn trusting(engine: &'a Engine, issuer: &str, more: &[(&str, &str)]) -> Self {
        let settings = settings_of(issuer);
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain(more.iter().copied())
            .collect();
        Self::start(engine, &settings).await
    }

    /// Signs in at the real provider.
    pub async fn arrive(&self, login: &str) -> (User, TokenPair) {
        let (signed_in, _) = self.federated_login(login).await.expect("signed in");
        (
            signed_in.user.expect("a user"),
            signed_in.tokens.expect("tokens"),
        )
    }

    /// Signs in at the hostile provider, whose token endpoint answers what `answer` makes of the
    /// login's nonce.
    pub async fn arrive_at(
        &self,
        provider: &Hostile,
        answer: impl FnOnce(&str) -> String,
    ) -> Result<(User, TokenPair, bool), Status> {
        let begun = self.begin_federated_login().await;
        provider.answer(200, &answer(&parameter(authorization_url(&begun), "nonce")));
        let request = CompleteFederatedLoginRequest {
            provider: "openid".to_owned(),
            state: begun.state,
            code: "a-code".to_owned(),
            binding_token: begun.binding_token,
            client: client(),
            ..Default::default()
        };
        let answer = self
            .auth()
            .complete_federated_login(request)
            .await?
            .into_inner();
        let complete_federated_login_response::Result::SignedIn(signed_in) =
            answer.result.expect("a result");
        let tokens = signed_in.tokens.expect("tokens");
        self.keep_secret(&tokens);
        Ok((signed_in.user.expect("a user"), tokens, answer.new_user))
    }

    /// Resolves placeholders and returns the values by name.
    pub async fn resolve(
        &self,
        request: ResolvePlaceholdersRequest,
    ) -> Result<BTreeMap<String, String>, Status> {
        let answer = self
            .federation()
            .resolve_placeholders(request)
            .await?
            .into_inner();
        Ok(answer.entries.into_iter().collect())
    }

    /// The user's token that a placeholder resolves to in a header.
    pub async fn token(&self, access_token: &str, name: &str) -> Result<String, Status> {
        let template = format!("Bearer {{{{LIBRECHAT_OPENID_{name}}}}}");
        let mut values = self
            .resolve(wish(
                access_token,
                Sink::Header,
                &[("Authorization", &template)],
            ))
            .await?;
        let header = values.remove("Authorization").expect("the header");
        let token = header.strip_prefix("Bearer ").expect("a bearer").to_owned();
        assert!(!token.is_empty());
        self.secret(&token);
        Ok(token)
    }

    /// The user's access token at the provider.
    pub async fn bearer(&self, access_token: &str) -> Result<String, Status> {
        self.token(access_token, "TOKEN").await
    }

    /// The reason for which the user's access token is refused.
    pub async fn no_bearer(&self, access_token: &str) -> String {
        calls::reason(&self.bearer(access_token).await.expect_err("unresolved")).1
    }

    /// The status of the stored token of one kind.
    pub async fn held(
        &self,
        access_token: &str,
        kind: FederatedTokenKind,
    ) -> Option<FederatedTokenStatus> {
        let request = GetTokenStatusRequest {
            subject: by_token(access_token),
            provider: String::new(),
        };
        let tokens = self
            .federation()
            .get_token_status(request)
            .await
            .expect("a status")
            .into_inner()
            .tokens;
        tokens.into_iter().find(|token| token.kind() == kind)
    }
}
