//! `countersign.v1.TokenService`.

use tonic::{Request, Response, Status};

use super::api::{Api, Asked, answer};
use super::convert::{
    connection, duration, optional_address, request_id, session, time, tokens, user,
};
use super::page::{parse_id, read_size};
use super::proto::token_service_server::TokenService;
use super::proto::{self, InactiveReason, VerifyTokenResponse};
use crate::auth::Mint;
use crate::clock::Timestamp;
use crate::config::callers::Permission;
use crate::error::{Error, Result, Violations};
use crate::id::{SessionId, UserId};
use crate::token::{Inactive, LiveToken, Verdict};

const MAX_BATCH: usize = 100;

#[tonic::async_trait]
impl TokenService for Api {
    async fn mint_session(
        &self,
        request: Request<proto::MintSessionRequest>,
    ) -> Result<Response<proto::MintSessionResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let mint = mint(message)?;
            let minted = auth.mint(mint, caller.name(), now).await?;
            Ok(proto::MintSessionResponse {
                user: Some(user(minted.user)),
                tokens: Some(tokens(minted.tokens)),
            })
        })
        .await
    }

    async fn verify_token(
        &self,
        request: Request<proto::VerifyTokenRequest>,
    ) -> Result<Response<VerifyTokenResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            caller.require_audience(self.asked(&message.audience))?;
            self.verify(&message.access_token, &message.audience, now)
                .await
        })
        .await
    }

    async fn batch_verify_tokens(
        &self,
        request: Request<proto::BatchVerifyTokensRequest>,
    ) -> Result<Response<proto::BatchVerifyTokensResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            caller.require_audience(self.asked(&message.audience))?;
            if !(1..=MAX_BATCH).contains(&message.access_tokens.len()) {
                return Err(Error::invalid("access_tokens", "must be 1 to 100 tokens"));
            }
            let mut results = Vec::with_capacity(message.access_tokens.len());
            for token in &message.access_tokens {
                results.push(self.verify(token, &message.audience, now).await?);
            }
            Ok(proto::BatchVerifyTokensResponse { results })
        })
        .await
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Result<Response<proto::RefreshSessionResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let address = optional_address(message.client.as_ref());
            let address =
                address.map_err(|description| Error::invalid("client.ip_address", description))?;
            let connection = connection(message.client);
            let refreshed = auth
                .refresh(
                    &message.refresh_token,
                    address,
                    &connection,
                    caller.name(),
                    now,
                )
                .await?;
            Ok(proto::RefreshSessionResponse {
                tokens: Some(tokens(refreshed.tokens)),
                user: Some(user(refreshed.user)),
            })
        })
        .await
    }

    async fn revoke_session(
        &self,
        request: Request<proto::RevokeSessionRequest>,
    ) -> Result<Response<proto::RevokeSessionResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let api = self.clone();
        self.run_to_end(async move {
            let mut violations = Violations::default();
            let session = violations.check(
                "session_id",
                parse_id(&message.session_id, SessionId::parse),
            );
            let subject = if let Some(named) = message.subject {
                api.subject(
                    Some(named),
                    &caller,
                    Permission::TokenRevokeAny,
                    &mut violations,
                )?
            } else {
                caller.require(Permission::TokenRevokeAny)?;
                None
            };
            let session = violations.finish_with(session)?;
            let owner = match subject {
                Some(subject) => Some(api.auth.who(&subject, now).await?.user_id().clone()),
                None => None,
            };
            api.tokens
                .revoke(&session, owner.as_ref(), "revoked", now)
                .await?;
            Ok(proto::RevokeSessionResponse {})
        })
        .await
    }

    async fn revoke_user_sessions(
        &self,
        request: Request<proto::RevokeUserSessionsRequest>,
    ) -> Result<Response<proto::RevokeUserSessionsResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let api = self.clone();
        self.run_to_end(async move {
            let mut violations = Violations::default();
            let subject = api.subject(
                message.subject,
                &caller,
                Permission::TokenRevokeAny,
                &mut violations,
            )?;
            let except = match message.except_session_id.as_str() {
                "" => None,
                id => violations.check("except_session_id", parse_id(id, SessionId::parse)),
            };
            let subject = violations.finish_with(subject)?;
            let who = api.auth.who(&subject, now).await?;
            let revoked = api
                .tokens
                .revoke_all(who.user_id(), except.as_ref(), now)
                .await?;
            Ok(proto::RevokeUserSessionsResponse {
                revoked_count: i32::try_from(revoked).unwrap_or(i32::MAX),
            })
        })
        .await
    }

    async fn list_sessions(
        &self,
        request: Request<proto::ListSessionsRequest>,
    ) -> Result<Response<proto::ListSessionsResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            let subject = self.subject(
                message.subject,
                &caller,
                Permission::TokenReadAny,
                &mut violations,
            )?;
            // A page token is bound to the user, so it can be read only once they are known.
            let Some(subject) = subject else {
                violations.check("page_size", read_size(message.page_size));
                return Err(violations.into_error());
            };
            let who = self.auth.who(&subject, now).await?;
            let list = format!("sessions of {}", who.user_id());
            let page = self
                .pages
                .read(&list, message.page_size, &message.page_token)?;
            let (sessions, more) = self
                .tokens
                .list(who.user_id(), page.descending(), page.size, now)
                .await?;
            let next = sessions.last().filter(|_| more).map(|last| {
                self.pages
                    .write(&list, last.create_time.millis(), last.id.as_str())
            });
            Ok(proto::ListSessionsResponse {
                sessions: sessions.into_iter().map(session).collect(),
                next_page_token: next.unwrap_or_default(),
            })
        })
        .await
    }
}

impl Api {
    /// The audience that a verification asks for; unnamed it is ours.
    fn asked<'a>(&'a self, audience: &'a str) -> &'a str {
        if audience.is_empty() {
            self.tokens.audience()
        } else {
            audience
        }
    }

    async fn verify(
        &self,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<VerifyTokenResponse> {
        Ok(match self.tokens.verify(token, audience, now).await? {
            Verdict::Active(live) => active(&live),
            Verdict::Inactive(reason) => VerifyTokenResponse {
                inactive_reason: inactive(reason).into(),
                ..Default::default()
            },
        })
    }
}

fn mint(message: proto::MintSessionRequest) -> Result<Mint> {
    let mut violations = Violations::default();
    let user_id = violations.check("user_id", parse_id(&message.user_id, UserId::parse));
    let address = violations
        .check(
            "client.ip_address",
            optional_address(message.client.as_ref()),
        )
        .flatten();
    let ttl = violations.check("ttl", duration(message.ttl)).flatten();
    let request_id = violations
        .check("request_id", request_id(message.request_id))
        .flatten();
    let user_id = violations.finish_with(user_id)?;
    Ok(Mint {
        user_id,
        address,
        client: connection(message.client),
        ttl,
        request_id,
    })
}

fn inactive(reason: Inactive) -> InactiveReason {
    match reason {
        Inactive::Invalid => InactiveReason::Invalid,
        Inactive::Expired => InactiveReason::Expired,
        Inactive::SessionRevoked => InactiveReason::SessionRevoked,
        Inactive::Banned { .. } => InactiveReason::Banned,
    }
}

fn active(live: &LiveToken) -> VerifyTokenResponse {
    let (token, session) = (live.claims(), &live.session);
    let claims = proto::TokenClaims {
        user_id: session.user.id.to_string(),
        session_id: session.id.to_string(),
        email: session.user.email.clone().unwrap_or_default(),
        email_verified: session.user.email_verified,
        username: session.user.username.clone(),
        role: session.user.role.clone(),
        provider: session.provider.clone(),
        audience: token.aud.clone(),
        auth_time: time(token.auth_time),
        amr: token.amr.clone(),
        issue_time: time(token.iat),
        expire_time: time(token.exp),
    };
    VerifyTokenResponse {
        active: true,
        inactive_reason: InactiveReason::Unspecified.into(),
        claims: Some(claims),
        cacheable_until: time(live.cacheable_until),
    }
}
