//! Local accounts: sessions, their tokens, and what is refused.

use std::time::Duration;

use countersign::grpc::proto::{
    ClientContext, InactiveReason, LoginRequest, LogoutRequest, RefreshSessionRequest,
    RegisterRequest, SignedIn, TokenPair, User, VerifyTokenRequest, VerifyTokenResponse,
    login_response, register_response,
};

use crate::World;
use crate::story::{Outcome, call, ensure, got, present, refused, short, step};

pub const EMAIL: &str = "ann@example.com";
pub const PASSWORD: &str = "kestrel lantern orbit";

/// Ann's connection, as the backend sees it.
pub fn client() -> ClientContext {
    ClientContext {
        ip_address: "203.0.113.7".into(),
        user_agent: "tour".into(),
        device_name: "laptop".into(),
    }
}

impl World {
    pub async fn register(&self) -> Outcome<User> {
        step("Ann registers; the first account becomes administrator");
        call("AuthService.Register", EMAIL);
        let (email, password, name) = (EMAIL.into(), PASSWORD.into(), "Ann Example".into());
        let request = RegisterRequest {
            email,
            password,
            name,
            client: Some(client()),
            ..RegisterRequest::default()
        };
        let answer = self.auth.clone().register(request).await?.into_inner();
        let register_response::Result::User(user) = present(answer.result, "result")?;
        got(&format!("user {}, role {}", user.id, user.role));
        ensure(
            user.role == "ADMIN" && user.email == EMAIL,
            "Ann is an ADMIN",
        )?;
        Ok(user)
    }

    pub async fn login(&self) -> Outcome<TokenPair> {
        step("Ann signs in with her password");
        call("AuthService.Login", EMAIL);
        let request = LoginRequest {
            email: EMAIL.into(),
            password: PASSWORD.into(),
            client: Some(client()),
        };
        let answer = self.auth.clone().login(request).await?.into_inner();
        let login_response::Result::SignedIn(SignedIn { tokens, .. }) =
            present(answer.result, "result")?;
        let tokens = present(tokens, "tokens")?;
        got(&format!("session {}", tokens.session_id));
        got(&format!(
            "access token {}, refresh token {}",
            short(&tokens.access_token),
            short(&tokens.refresh_token)
        ));
        Ok(tokens)
    }

    pub async fn verify(&self, tokens: &TokenPair) -> Outcome {
        step("A backend verifies the access token of a request");
        let claims = present(self.look(&tokens.access_token).await?.claims, "claims")?;
        got(&format!(
            "active: user {}, {}, role {}, amr {:?}",
            claims.user_id, claims.email, claims.role, claims.amr
        ));
        ensure(
            claims.session_id == tokens.session_id && claims.email == EMAIL,
            "the token is Ann's",
        )
    }

    pub async fn refresh(&self, first: &TokenPair) -> Outcome<TokenPair> {
        step("The session is refreshed, twice with the same token, as two browser tabs do");
        let second = self.exchange(first).await?;
        let again = self.exchange(first).await?;
        ensure(
            second.refresh_token != first.refresh_token,
            "the refresh token has changed",
        )?;
        ensure(
            second.refresh_token == again.refresh_token,
            "both tabs got the same refresh token",
        )?;
        Ok(second)
    }

    async fn exchange(&self, tokens: &TokenPair) -> Outcome<TokenPair> {
        call("TokenService.RefreshSession", &short(&tokens.refresh_token));
        let request = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: Some(client()),
        };
        let tokens = present(
            self.tokens
                .clone()
                .refresh_session(request)
                .await?
                .into_inner()
                .tokens,
            "tokens",
        )?;
        let end: String = tokens
            .refresh_token
            .chars()
            .skip(tokens.refresh_token.len().saturating_sub(8))
            .collect();
        got(&format!(
            "a new access token; the refresh token ends in {end}"
        ));
        Ok(tokens)
    }

    pub async fn tamper(&self, tokens: &TokenPair) -> Outcome {
        step("Somebody changes one character of the access token");
        let (start, end) = tokens.access_token.split_at(tokens.access_token.len() - 10);
        let other = if end.starts_with('A') { "B" } else { "A" };
        let answer = self.look(&format!("{start}{other}{}", &end[1..])).await?;
        inactive(&answer, InactiveReason::Invalid)
    }

    pub async fn steal(&self, spent: &TokenPair, live: &TokenPair) -> Outcome {
        step(
            "Twenty-one seconds later the spent refresh token turns up again: somebody has a copy, so the session ends",
        );
        self.clock.advance(Duration::from_secs(21));
        call("TokenService.RefreshSession", &short(&spent.refresh_token));
        let request = RefreshSessionRequest {
            refresh_token: spent.refresh_token.clone(),
            client: Some(client()),
        };
        refused(
            self.tokens.clone().refresh_session(request).await,
            "REFRESH_TOKEN_REUSED",
        )?;
        let answer = self.look(&live.access_token).await?;
        inactive(&answer, InactiveReason::SessionRevoked)
    }

    pub async fn logout(&self, tokens: &TokenPair) -> Outcome {
        step("Bea signs out; her access token is dead at once, though it has not expired");
        call("AuthService.Logout", &short(&tokens.refresh_token));
        self.auth
            .clone()
            .logout(LogoutRequest {
                refresh_token: tokens.refresh_token.clone(),
            })
            .await?;
        got("done");
        let answer = self.look(&tokens.access_token).await?;
        inactive(&answer, InactiveReason::SessionRevoked)
    }

    /// What VerifyToken says about a token.
    pub async fn look(&self, access_token: &str) -> Outcome<VerifyTokenResponse> {
        call("TokenService.VerifyToken", &short(access_token));
        let request = VerifyTokenRequest {
            access_token: access_token.into(),
            ..VerifyTokenRequest::default()
        };
        Ok(self
            .tokens
            .clone()
            .verify_token(request)
            .await?
            .into_inner())
    }
}

/// Ends the tour if the token is not inactive for this reason.
pub fn inactive(answer: &VerifyTokenResponse, reason: InactiveReason) -> Outcome {
    got(&format!(
        "active: {}, {}",
        answer.active,
        answer.inactive_reason().as_str_name()
    ));
    ensure(
        !answer.active && answer.inactive_reason() == reason,
        reason.as_str_name(),
    )
}
