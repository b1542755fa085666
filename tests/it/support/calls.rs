//! Calls that many tests make, and helpers to read the answers.
#![expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]

use std::time::Duration;

use countersign::grpc::proto::*;
use http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::provider::{CLIENT_ID, CLIENT_SECRET};
use super::world::World;

pub const PASSWORD: &str = "kestrel lantern orbit meadow";
pub const ADDRESS: &str = "203.0.113.7";

/// The end user's connection.
pub fn client() -> Option<ClientContext> {
    client_at(ADDRESS)
}

pub fn client_at(address: &str) -> Option<ClientContext> {
    Some(ClientContext {
        ip_address: address.to_owned(),
        user_agent: "test/1".to_owned(),
        device_name: "test device".to_owned(),
    })
}

/// Code and reason of an error; fails if a detail that every error has is missing.
pub fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "countersign.v1");
    assert!(
        details.request_info().is_some(),
        "no RequestInfo in {status:?}"
    );
    (status.code(), info.reason.clone())
}

/// The paths of all invalid fields, sorted.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let mut fields: Vec<_> = details.bad_request().map_or_else(Vec::new, |bad| {
        bad.field_violations
            .iter()
            .map(|v| v.field.clone())
            .collect()
    });
    fields.sort();
    fields
}

/// The delay after which a refused call may be repeated, as the error says.
pub fn retry_after(status: &Status) -> Option<Duration> {
    status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay)
}

/// Repeats a call while the answer is BUSY, as a backend should. For tests with parallel calls that
/// are not about BUSY.
pub async fn patiently<T>(mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    loop {
        match call().await {
            Err(status) if reason(&status).1 == "BUSY" => (),
            answer => return answer,
        }
    }
}

/// Calls the method with this path, and waits for its first answer: the answers of a stream go on.
pub async fn first_answer<T: prost::Message + Default + 'static>(
    channel: Channel,
    path: &str,
    request: Request<T>,
) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("ready");
    let path = PathAndQuery::try_from(path).expect("a path");
    let codec = tonic_prost::ProstCodec::<T, ()>::default();
    let answers = grpc.server_streaming(request, path, codec).await?;
    answers.into_inner().message().await.map(drop)
}

pub fn register_request(email: &str) -> RegisterRequest {
    RegisterRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        name: "Ann Example".to_owned(),
        client: client(),
        ..Default::default()
    }
}

pub fn login_request(email: &str, password: &str) -> LoginRequest {
    LoginRequest {
        email: email.to_owned(),
        password: password.to_owned(),
        client: client(),
    }
}

impl World<'_> {
    pub async fn register(&self, email: &str) -> User {
        self.secret(PASSWORD);
        self.auth()
            .register(register_request(email))
            .await
            .map(registered)
            .expect("an account")
    }

    pub async fn login(&self, email: &str) -> SignedIn {
        let answer = self
            .auth()
            .login(login_request(email, PASSWORD))
            .await
            .expect("signed in")
            .into_inner();
        let login_response::Result::SignedIn(signed_in) = answer.result.expect("a result");
        self.keep_secret(signed_in.tokens.as_ref().expect("tokens"));
        signed_in
    }

    /// Registers an account and signs it in.
    pub async fn signed_in(&self, email: &str) -> (User, TokenPair) {
        self.register(email).await;
        let signed_in = self.login(email).await;
        (
            signed_in.user.expect("a user"),
            signed_in.tokens.expect("tokens"),
        )
    }

    pub fn keep_secret(&self, tokens: &TokenPair) {
        self.secret(&tokens.access_token);
        self.secret(&tokens.refresh_token);
    }

    pub async fn verify(&self, access_token: &str) -> VerifyTokenResponse {
        let request = VerifyTokenRequest {
            access_token: access_token.to_owned(),
            audience: String::new(),
        };
        self.tokens()
            .verify_token(request)
            .await
            .expect("a verdict, never an error")
            .into_inner()
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<TokenPair, Status> {
        let request = RefreshSessionRequest {
            refresh_token: refresh_token.to_owned(),
            client: client(),
        };
        let tokens = self
            .tokens()
            .refresh_session(request)
            .await?
            .into_inner()
            .tokens
            .expect("tokens");
        self.keep_secret(&tokens);
        Ok(tokens)
    }

    pub async fn logout(&self, refresh_token: &str) -> Result<(), Status> {
        self.auth()
            .logout(LogoutRequest {
                refresh_token: refresh_token.to_owned(),
            })
            .await
            .map(drop)
    }

    /// Opens a session for a user, who takes no part in it.
    pub async fn mint(&self, user_id: &str) -> TokenPair {
        let request = MintSessionRequest {
            user_id: user_id.to_owned(),
            ..Default::default()
        };
        let tokens = self
            .tokens()
            .mint_session(request)
            .await
            .expect("minted")
            .into_inner()
            .tokens
            .expect("tokens");
        self.keep_secret(&tokens);
        tokens
    }

    /// Ends a session without a user's token.
    pub async fn revoke(&self, session_id: &str) {
        let request = RevokeSessionRequest {
            session_id: session_id.to_owned(),
            subject: None,
        };
        self.tokens().revoke_session(request).await.expect("ended");
    }

    /// Whether a token is active, and if not, the reason.
    pub async fn verdict(&self, access_token: &str) -> (bool, InactiveReason) {
        let answer = self.verify(access_token).await;
        (answer.active, answer.inactive_reason())
    }

    /// Signs in at the real provider, through its login form.
    pub async fn federated_login(&self, login: &str) -> Result<(SignedIn, bool), Status> {
        let begun = self.begin_federated_login().await;
        let callback = super::browser::sign_in(authorization_url(&begun), login).await;
        let answer = self
            .auth()
            .complete_federated_login(complete_request(&begun, &callback))
            .await?
            .into_inner();
        let complete_federated_login_response::Result::SignedIn(signed_in) =
            answer.result.expect("a result");
        self.keep_secret(signed_in.tokens.as_ref().expect("tokens"));
        Ok((signed_in, answer.new_user))
    }

    pub async fn begin_federated_login(&self) -> BeginFederatedLoginResponse {
        let request = BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            return_to: "/c/new".to_owned(),
            client: client(),
        };
        let attempt = async || self.auth().begin_federated_login(request.clone()).await;
        let begun = patiently(attempt).await.expect("begun").into_inner();
        self.secret(&begun.state);
        self.secret(&begun.binding_token);
        begun
    }
}

/// The user that was registered.
pub fn registered(answer: Response<RegisterResponse>) -> User {
    let register_response::Result::User(user) = answer.into_inner().result.expect("a result");
    user
}

/// The URL that the user's browser is to be sent to.
pub fn authorization_url(begun: &BeginFederatedLoginResponse) -> &str {
    let begin_federated_login_response::NextStep::AuthorizationUrl(url) =
        begun.next_step.as_ref().expect("a next step");
    url
}

/// The answers for the tokens of a batch, none of which failed.
pub fn answers(batch: Response<BatchVerifyTokensResponse>) -> Vec<VerifyTokenResponse> {
    let answer = |one: VerifyTokenResult| match one.result {
        Some(verify_token_result::Result::Answer(answer)) => answer,
        other => panic!("no answer but {other:?}"),
    };
    batch.into_inner().results.into_iter().map(answer).collect()
}

/// The request that a backend sends when the browser comes back.
pub fn complete_request(
    begun: &BeginFederatedLoginResponse,
    callback: &super::browser::Callback,
) -> CompleteFederatedLoginRequest {
    CompleteFederatedLoginRequest {
        provider: "openid".to_owned(),
        state: callback.state.clone(),
        code: callback.code.clone(),
        iss: callback.iss.clone(),
        binding_token: begun.binding_token.clone(),
        client: client(),
        ..Default::default()
    }
}

pub fn by_token(access_token: &str) -> Option<Subject> {
    Some(Subject {
        subject: Some(subject::Subject::AccessToken(access_token.to_owned())),
    })
}

pub fn by_session(id: &str) -> Option<Subject> {
    Some(Subject {
        subject: Some(subject::Subject::SessionId(id.to_owned())),
    })
}

pub fn by_user(id: &str) -> Option<Subject> {
    Some(Subject {
        subject: Some(subject::Subject::UserId(id.to_owned())),
    })
}

/// The settings of a service that trusts an issuer.
pub fn settings_of(issuer: &str) -> Vec<(&'static str, String)> {
    vec![
        ("OPENID_CLIENT_ID", CLIENT_ID.to_owned()),
        ("OPENID_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("OPENID_ISSUER", issuer.to_owned()),
        ("OPENID_SCOPE", "openid profile email".to_owned()),
    ]
}
