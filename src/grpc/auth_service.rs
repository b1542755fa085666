//! `countersign.v1.AuthService`.

use tonic::{Request, Response, Status};

use super::api::{Api, Asked, answer};
use super::convert::{address, connection, signed_in, user};
use super::proto::auth_service_server::AuthService;
use super::proto::{self, complete_federated_login_response, get_user_request, login_response};
use crate::auth::{Credentials, FederatedAnswer, NewAccount};
use crate::config::callers::Permission;
use crate::error::{Error, Violations};

const USERS: &str = "users";

#[tonic::async_trait]
impl AuthService for Api {
    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::RegisterResponse>, Status> {
        let Asked { message, now, .. } = self.begin(request)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let new = NewAccount {
                address: address(message.client.as_ref()),
                email: message.email,
                password: message.password.into(),
                name: message.name,
                username: message.username,
                invite_token: message.invite_token.into(),
            };
            Ok(proto::RegisterResponse {
                user: Some(user(auth.register(new, now).await?)),
            })
        })
        .await
    }

    async fn login(
        &self,
        request: Request<proto::LoginRequest>,
    ) -> Result<Response<proto::LoginResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let credentials = Credentials {
                email: message.email,
                password: message.password.into(),
                address: address(message.client.as_ref()),
                client: connection(message.client),
            };
            let result = login_response::Result::SignedIn(signed_in(
                auth.login(credentials, caller.name(), now).await?,
            ));
            Ok(proto::LoginResponse {
                result: Some(result),
            })
        })
        .await
    }

    async fn logout(
        &self,
        request: Request<proto::LogoutRequest>,
    ) -> Result<Response<proto::LogoutResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let end_session_url = auth
                .logout(&message.refresh_token, caller.name(), now)
                .await?
                .unwrap_or_default();
            Ok(proto::LogoutResponse { end_session_url })
        })
        .await
    }

    async fn list_providers(
        &self,
        _: Request<proto::ListProvidersRequest>,
    ) -> Result<Response<proto::ListProvidersResponse>, Status> {
        let providers = self.federation.providers().iter().map(|client| {
            let config = client.config();
            proto::Provider {
                id: config.id.clone(),
                kind: "openid".to_owned(),
                display_name: config.display_name.clone(),
                icon_url: config.icon_url.clone(),
            }
        });
        Ok(Response::new(proto::ListProvidersResponse {
            providers: providers.collect(),
        }))
    }

    async fn begin_federated_login(
        &self,
        request: Request<proto::BeginFederatedLoginRequest>,
    ) -> Result<Response<proto::BeginFederatedLoginResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let address = address(message.client.as_ref());
            let begun = auth
                .begin_federated_login(
                    &message.provider,
                    message.return_to,
                    address,
                    caller.name(),
                    now,
                )
                .await?;
            Ok(proto::BeginFederatedLoginResponse {
                authorization_url: begun.authorization_url,
                state: begun.state,
                binding_token: begun.binding_token,
                expire_time: super::convert::time(begun.expire_time),
            })
        })
        .await
    }

    async fn complete_federated_login(
        &self,
        request: Request<proto::CompleteFederatedLoginRequest>,
    ) -> Result<Response<proto::CompleteFederatedLoginResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let completed = auth
                .complete_federated_login(federated_answer(message), caller.name(), now)
                .await?;
            let result =
                complete_federated_login_response::Result::SignedIn(signed_in(completed.signed_in));
            Ok(proto::CompleteFederatedLoginResponse {
                result: Some(result),
                new_user: completed.new_user,
                return_to: completed.return_to,
            })
        })
        .await
    }

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::GetUserResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let found = match message.user {
                None => {
                    return Err(Error::invalid(
                        "user",
                        "one of subject and email is required",
                    ));
                }
                Some(get_user_request::User::Email(email)) => {
                    caller.require(Permission::AuthReadAny)?;
                    self.auth.user_by_email(&email).await?
                }
                Some(get_user_request::User::Subject(named)) => {
                    let mut violations = Violations::default();
                    let subject = self.subject(
                        Some(named),
                        &caller,
                        Permission::AuthReadAny,
                        &mut violations,
                    )?;
                    let subject = violations.finish_with(subject)?;
                    self.auth.who(&subject, now).await?.user().clone()
                }
            };
            Ok(proto::GetUserResponse {
                user: Some(user(found)),
            })
        })
        .await
    }

    async fn list_users(
        &self,
        request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<proto::ListUsersResponse>, Status> {
        let Asked { message, .. } = self.begin(request)?;
        answer(async {
            let page = self
                .pages
                .read(USERS, message.page_size, &message.page_token)?;
            let (users, more) = self.auth.list_users(page.ascending(), page.size).await?;
            let next = users.last().filter(|_| more).map(|last| {
                self.pages
                    .write(USERS, last.create_time.millis(), last.id.as_str())
            });
            Ok(proto::ListUsersResponse {
                users: users.into_iter().map(user).collect(),
                next_page_token: next.unwrap_or_default(),
            })
        })
        .await
    }
}

fn federated_answer(message: proto::CompleteFederatedLoginRequest) -> FederatedAnswer {
    FederatedAnswer {
        address: address(message.client.as_ref()),
        client: connection(message.client),
        provider: message.provider,
        state: message.state,
        code: message.code,
        iss: message.iss,
        error: message.error,
        error_description: message.error_description,
        binding_token: message.binding_token,
    }
}
