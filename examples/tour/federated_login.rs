//! Sign-in at the provider.

use countersign::grpc::proto::{
    BeginFederatedLoginRequest, BeginFederatedLoginResponse, ClientContext,
    CompleteFederatedLoginRequest, TokenPair, begin_federated_login_response,
    complete_federated_login_response,
};

use crate::World;
use crate::browser::visit;
use crate::story::{Outcome, call, ensure, got, present, refused, short, step};

const PROVIDER: &str = "openid";

fn client() -> ClientContext {
    ClientContext {
        ip_address: "198.51.100.23".into(),
        ..ClientContext::default()
    }
}

impl World {
    pub async fn federated_login(&self) -> Outcome<TokenPair> {
        step(
            "Bea signs in at the OpenID provider (authorization code, PKCE, state, nonce, browser binding)",
        );
        let begun = self.begin().await?;
        let request = come_back(begun).await?;
        let tokens = self.complete(request.clone()).await?;

        call(
            "AuthService.CompleteFederatedLogin",
            "once more, with the same state and code",
        );
        refused(
            self.auth.clone().complete_federated_login(request).await,
            "STATE_INVALID",
        )?;
        Ok(tokens)
    }

    async fn begin(&self) -> Outcome<BeginFederatedLoginResponse> {
        call(
            "AuthService.BeginFederatedLogin",
            "openid, return to /c/new",
        );
        let request = BeginFederatedLoginRequest {
            provider: PROVIDER.into(),
            return_to: "/c/new".into(),
            client: Some(client()),
        };
        let begun = self
            .auth
            .clone()
            .begin_federated_login(request)
            .await?
            .into_inner();
        let beginning: String = authorization_url(&begun)?.chars().take(60).collect();
        got(&format!("authorization URL {beginning}..."));
        Ok(begun)
    }

    async fn complete(&self, request: CompleteFederatedLoginRequest) -> Outcome<TokenPair> {
        call(
            "AuthService.CompleteFederatedLogin",
            &format!("code {}", short(&request.code)),
        );
        let completed = self
            .auth
            .clone()
            .complete_federated_login(request)
            .await?
            .into_inner();
        ensure(
            completed.new_user && completed.return_to == "/c/new",
            "a new account, sent back to where it came from",
        )?;
        let complete_federated_login_response::Result::SignedIn(signed_in) =
            present(completed.result, "result")?;
        let (user, tokens) = (
            present(signed_in.user, "user")?,
            present(signed_in.tokens, "tokens")?,
        );
        got(&format!(
            "new user {}, {}, role {}, session {}",
            user.id, user.email, user.role, tokens.session_id
        ));
        ensure(
            user.email == "bea@example.com" && user.email_verified && user.role == "USER",
            "Bea is a user like any other",
        )?;
        Ok(tokens)
    }
}

fn authorization_url(begun: &BeginFederatedLoginResponse) -> Outcome<&str> {
    let begin_federated_login_response::NextStep::AuthorizationUrl(url) =
        present(begun.next_step.as_ref(), "next step")?;
    Ok(url)
}

/// Sends the browser to the provider, and returns the request that the backend sends after the callback.
async fn come_back(begun: BeginFederatedLoginResponse) -> Outcome<CompleteFederatedLoginRequest> {
    call("The browser", "goes there, and comes back to the callback");
    let mut callback = visit(authorization_url(&begun)?).await?;
    let mut take = |name: &str| callback.remove(name).unwrap_or_default();
    let (state, code, iss) = (take("state"), take("code"), take("iss"));
    got(&format!(
        "code {}, state {}, iss {iss}",
        short(&code),
        short(&state)
    ));
    Ok(CompleteFederatedLoginRequest {
        provider: PROVIDER.into(),
        state,
        code,
        iss,
        binding_token: begun.binding_token,
        client: Some(client()),
        ..Default::default()
    })
}
