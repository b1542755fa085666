//! `countersign.v1.AuthService`.

use tonic::{Request, Response, Status};

use super::api::{Api, Calling, Incoming, answer};
use super::convert::{provider, signed_in, time, tokens, user};
use super::field_errors::{FieldErrors, in_field};
use super::parse;
use super::proto::auth_service_server::AuthService;
use super::proto::{
    self, begin_federated_login_response, complete_federated_login_response, get_user_request,
    login_response, reauthenticate_request, register_response,
};
use crate::auth::{BeginLogin, Callback, CallbackOutcome, Credentials, NewAccount, Proof};
use crate::caller::Permission;
use crate::error::Result;
use crate::model::account::{DisplayName, Username};
use crate::model::email::Email;
use crate::model::password::Password;
use crate::model::return_path::ReturnPath;

const USERS: &str = "users";

#[tonic::async_trait]
impl AuthService for Api {
    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::RegisterResponse>, Status> {
        let Incoming { message, now, .. } = self.begin(request)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let new = new_account(message, auth.min_password_length())?;
            let registered = auth.register(new, now).await;
            let registered = registered.map_err(|error| in_field("password", error))?;
            Ok(proto::RegisterResponse {
                result: Some(register_response::Result::User(user(registered))),
            })
        })
        .await
    }

    async fn login(
        &self,
        request: Request<proto::LoginRequest>,
    ) -> Result<Response<proto::LoginResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        let work = async move {
            // Before the fields: a caller that may not offer the form needs no advice about it.
            auth.require_password_login()?;
            let credentials = credentials(message)?;
            auth.login(credentials, caller.name(), now).await
        };
        let login = self.sign_in(work, |login| &login.tokens.session_id).await?;
        Ok(Response::new(proto::LoginResponse {
            result: Some(login_response::Result::SignedIn(signed_in(login))),
        }))
    }

    async fn reauthenticate(
        &self,
        request: Request<proto::ReauthenticateRequest>,
    ) -> Result<Response<proto::ReauthenticateResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            auth.require_password_login()?;
            let proof = proof(message, &caller)?;
            let pair = auth.reauthenticate(proof, caller.name(), now).await?;
            Ok(proto::ReauthenticateResponse {
                tokens: Some(tokens(pair)),
            })
        })
        .await
    }

    async fn logout(
        &self,
        request: Request<proto::LogoutRequest>,
    ) -> Result<Response<proto::LogoutResponse>, Status> {
        let Incoming {
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
        Ok(Response::new(proto::ListProvidersResponse {
            providers: self.federation.providers().iter().map(provider).collect(),
        }))
    }

    async fn begin_federated_login(
        &self,
        request: Request<proto::BeginFederatedLoginRequest>,
    ) -> Result<Response<proto::BeginFederatedLoginResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let begun = auth
                .begin_federated_login(begin_login(message)?, caller.name(), now)
                .await?;
            let next_step =
                begin_federated_login_response::NextStep::AuthorizationUrl(begun.authorization_url);
            Ok(proto::BeginFederatedLoginResponse {
                next_step: Some(next_step),
                state: begun.state,
                binding_token: begun.binding_token,
                expire_time: time(begun.expire_time),
            })
        })
        .await
    }

    async fn complete_federated_login(
        &self,
        request: Request<proto::CompleteFederatedLoginRequest>,
    ) -> Result<Response<proto::CompleteFederatedLoginResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        let work = async move {
            let callback = callback(message)?;
            auth.complete_federated_login(callback, caller.name(), now)
                .await
        };
        let completed = self
            .sign_in(work, |completed| &completed.signed_in.tokens.session_id)
            .await?;
        let result =
            complete_federated_login_response::Result::SignedIn(signed_in(completed.signed_in));
        Ok(Response::new(proto::CompleteFederatedLoginResponse {
            result: Some(result),
            new_user: completed.new_user,
            return_to: completed.return_to,
        }))
    }

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::GetUserResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let found = match message.user {
                None => {
                    errors.add("user", "one of subject and email is required");
                    return Err(errors.into_error());
                }
                Some(get_user_request::User::Email(email)) => {
                    caller.require(Permission::AuthReadAny)?;
                    let email = errors.check("email", Email::parse(&email));
                    self.auth.user_by_email(&errors.build(|| email)?).await?
                }
                Some(get_user_request::User::Subject(named)) => {
                    let any = Permission::AuthReadAny;
                    let subject = self.subject(Some(named), &caller, any, &mut errors)?;
                    let subject = errors.build(|| subject)?;
                    self.auth.resolve(&subject, now).await?.into_user()
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
        let Incoming { message, .. } = self.begin(request)?;
        answer(async {
            let page = self
                .pages
                .read(USERS, message.page_size, &message.page_token)?;
            let users = self.auth.list_users(&page).await?;
            Ok(proto::ListUsersResponse {
                users: users.items.into_iter().map(user).collect(),
                next_page_token: self.pages.write(USERS, users.next),
            })
        })
        .await
    }
}

fn new_account(message: proto::RegisterRequest, min_password_length: usize) -> Result<NewAccount> {
    let mut errors = FieldErrors::default();
    let email = errors.check("email", Email::parse(&message.email));
    let password = Password::parse_new(message.password, min_password_length);
    let password = errors.check("password", password);
    let name = errors.check("name", DisplayName::parse(message.name));
    let username = errors.check("username", Username::parse(&message.username));
    let (address, _) = parse::client(message.client, &mut errors);
    errors.build(|| {
        Some(NewAccount {
            email: email?,
            password: password?,
            name: name?,
            username: username?,
            invite_token: message.invite_token.into(),
            address: address?,
        })
    })
}

fn credentials(message: proto::LoginRequest) -> Result<Credentials> {
    let mut errors = FieldErrors::default();
    let email = errors.check("email", Email::parse(&message.email));
    let password = errors.check("password", Password::parse(message.password));
    let (address, device) = parse::client(message.client, &mut errors);
    errors.build(|| {
        Some(Credentials {
            email: email?,
            password: password?,
            address: address?,
            device,
        })
    })
}

fn proof(message: proto::ReauthenticateRequest, caller: &Calling) -> Result<Proof> {
    use proto::subject::Subject;
    let mut errors = FieldErrors::default();
    let access_token = match message.subject.and_then(|subject| subject.subject) {
        Some(Subject::AccessToken(token)) => Some(token),
        Some(Subject::SessionId(_) | Subject::UserId(_)) => {
            errors.add("subject", "must be an access_token");
            None
        }
        None => {
            errors.add("subject", "is required");
            None
        }
    };
    let password = match message.proof {
        Some(reauthenticate_request::Proof::Password(password)) => password,
        None => String::new(),
    };
    let password = errors.check("password", Password::parse(password));
    let (address, _) = parse::client(message.client, &mut errors);
    errors.build(|| {
        Some(Proof {
            access_token: access_token?,
            scope: caller.permission.name(),
            password: password?,
            address: address?,
        })
    })
}

fn begin_login(message: proto::BeginFederatedLoginRequest) -> Result<BeginLogin> {
    let mut errors = FieldErrors::default();
    let return_to = errors.check("return_to", ReturnPath::parse(message.return_to));
    let (address, _) = parse::client(message.client, &mut errors);
    errors.build(|| {
        Some(BeginLogin {
            provider: message.provider,
            return_to: return_to?,
            address: address?,
        })
    })
}

fn callback(message: proto::CompleteFederatedLoginRequest) -> Result<Callback> {
    let mut errors = FieldErrors::default();
    let outcome = match (message.code.is_empty(), message.error.is_empty()) {
        (false, true) => Some(CallbackOutcome::Code(message.code)),
        (true, false) => Some(CallbackOutcome::Refused {
            error: message.error,
            description: message.error_description,
        }),
        _ => {
            errors.add("code", "one of code and error must be set");
            None
        }
    };
    let (address, device) = parse::client(message.client, &mut errors);
    errors.build(|| {
        Some(Callback {
            provider: message.provider,
            state: message.state,
            outcome: outcome?,
            iss: (!message.iss.is_empty()).then_some(message.iss),
            binding_token: message.binding_token,
            address: address?,
            device,
        })
    })
}
