//! `countersign.v1.TokenService`.

use std::time::Duration;

use tonic::{Request, Response, Status};
use tracing::warn;

use super::api::{Api, Calling, Incoming, answer};
use super::convert::{error_reason, session, tokens, user};
use super::exchange::{exchange, exchanged};
use super::field_errors::{FieldErrors, in_field};
use super::page::read_size;
use super::parse;
use super::proto::token_service_server::TokenService;
use super::proto::{self, VerifyTokenResponse, verify_token_result};
use super::revocations::{Events, cursor, events};
use super::verdict::verified;
use crate::auth::{Mint, Subject};
use crate::caller::Permission;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::metrics::Ended;
use crate::model::request_id::RequestId;
use crate::token::{Outage, Verdict};

const MAX_BATCH: usize = 100;
/// JWTs count in seconds.
const SHORTEST_SESSION: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl TokenService for Api {
    async fn mint_session(
        &self,
        request: Request<proto::MintSessionRequest>,
    ) -> Result<Response<proto::MintSessionResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let minted = auth.mint(mint(message)?, caller.name(), now).await?;
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let audience = self.audience(&message.audience);
            caller.require_audience(audience)?;
            let verdict =
                self.tokens
                    .verify(&message.access_token, audience, Outage::Remember, now);
            Ok(verified(verdict.await?))
        })
        .await
    }

    async fn batch_verify_tokens(
        &self,
        request: Request<proto::BatchVerifyTokensRequest>,
    ) -> Result<Response<proto::BatchVerifyTokensResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let audience = self.audience(&message.audience);
            caller.require_audience(audience)?;
            if !(1..=MAX_BATCH).contains(&message.access_tokens.len()) {
                return Err(FieldErrors::one("access_tokens", "must be 1 to 100 tokens"));
            }
            Ok(proto::BatchVerifyTokensResponse {
                results: self.verify_all(&message.access_tokens, audience, now).await,
            })
        })
        .await
    }

    async fn refresh_session(
        &self,
        request: Request<proto::RefreshSessionRequest>,
    ) -> Result<Response<proto::RefreshSessionResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        self.require_own_audience(&caller)?;
        let auth = self.auth.clone();
        self.run_to_end(async move {
            let mut errors = FieldErrors::default();
            let (address, device) = parse::optional_client(message.client, &mut errors);
            errors.build(|| Some(()))?;
            let refreshed = auth
                .refresh(&message.refresh_token, address, &device, caller.name(), now)
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let api = self.clone();
        self.run_to_end(async move {
            let (session, subject) = api.session_and_owner(message, &caller)?;
            let owner = match subject {
                Some(subject) => Some(api.auth.resolve(&subject, now).await?.user_id().clone()),
                None => None,
            };
            let ended = api
                .tokens
                .revoke(&session, owner.as_ref(), Ended::Revoked, now);
            if ended.await? {
                tracing::info!(%session, caller = %caller.name(), "a caller ended a session");
            }
            Ok(proto::RevokeSessionResponse {})
        })
        .await
    }

    async fn revoke_user_sessions(
        &self,
        request: Request<proto::RevokeUserSessionsRequest>,
    ) -> Result<Response<proto::RevokeUserSessionsResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let api = self.clone();
        self.run_to_end(async move {
            let mut errors = FieldErrors::default();
            let any = Permission::TokenRevokeAny;
            let subject = api.subject(message.subject, &caller, any, &mut errors)?;
            let except = match message.except_session_id.as_str() {
                "" => None,
                id => errors.check("except_session_id", parse::id(id, SessionId::parse)),
            };
            let subject = errors.build(|| subject)?;
            let subject = api.auth.resolve(&subject, now).await?;
            let revoked = api
                .tokens
                .revoke_all(subject.user_id(), except.as_ref(), now)
                .await?;
            tracing::info!(user = %subject.user_id(), sessions = revoked, caller = %caller.name(), "a caller ended a user's sessions");
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
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let any = Permission::TokenReadAny;
            // A page token is bound to the user, so it can be read only once they are known.
            let Some(subject) = self.subject(message.subject, &caller, any, &mut errors)? else {
                errors.check("page_size", read_size(message.page_size));
                return Err(errors.into_error());
            };
            let subject = self.auth.resolve(&subject, now).await?;
            let list = format!("sessions of {}", subject.user_id());
            let page = self
                .pages
                .read(&list, message.page_size, &message.page_token)?;
            let sessions = self.tokens.list(subject.user_id(), &page, now).await?;
            Ok(proto::ListSessionsResponse {
                sessions: sessions.items.into_iter().map(session).collect(),
                next_page_token: self.pages.write(&list, sessions.next),
            })
        })
        .await
    }

    async fn exchange_token(
        &self,
        request: Request<proto::ExchangeTokenRequest>,
    ) -> Result<Response<proto::ExchangeTokenResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        answer(async {
            let own = self.tokens.audience();
            let wanted = exchange(message, &caller, own)?;
            let accepts = |audience: &str| caller.exchanges(audience, own);
            let name = caller.name();
            let done = self.auth.exchange(wanted, &accepts, name, now).await;
            done.map(exchanged)
                .map_err(|error| in_field("access_token", error))
        })
        .await
    }

    type WatchRevocationsStream = Events;

    async fn watch_revocations(
        &self,
        request: Request<proto::WatchRevocationsRequest>,
    ) -> Result<Response<Events>, Status> {
        let Incoming { message, now, .. } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let cursor = errors.check("cursor", cursor(&message.cursor));
            let cursor = errors.build(|| cursor)?;
            let stopping = self.stopping();
            Ok(events(self.tokens.watch(cursor, stopping, now).await?))
        })
        .await
    }

    async fn list_signing_keys(
        &self,
        request: Request<proto::ListSigningKeysRequest>,
    ) -> Result<Response<proto::ListSigningKeysResponse>, Status> {
        self.list_keys(request).await
    }

    async fn rotate_signing_key(
        &self,
        request: Request<proto::RotateSigningKeyRequest>,
    ) -> Result<Response<proto::RotateSigningKeyResponse>, Status> {
        self.rotate_key(request).await
    }

    async fn revoke_signing_key(
        &self,
        request: Request<proto::RevokeSigningKeyRequest>,
    ) -> Result<Response<proto::RevokeSigningKeyResponse>, Status> {
        self.revoke_key(request).await
    }
}

impl Api {
    /// The audience that a verification asks for. If it names none, that is the audience of our own
    /// tokens.
    fn audience<'a>(&'a self, named: &'a str) -> &'a str {
        if named.is_empty() {
            self.tokens.audience()
        } else {
            named
        }
    }

    /// The result for each token. The call does not fail with them, so the first failure is logged
    /// here.
    async fn verify_all(
        &self,
        tokens: &[String],
        audience: &str,
        now: Timestamp,
    ) -> Vec<proto::VerifyTokenResult> {
        let verdicts = self.tokens.verify_all(tokens, audience, now).await;
        if let Some(error) = verdicts.iter().find_map(|verdict| verdict.as_ref().err()) {
            let cause = error.cause_text();
            warn!("tokens of a batch could not be verified: {error}{cause}");
        }
        let result = |verdict: Result<Verdict>| match verdict {
            Ok(verdict) => verify_token_result::Result::Answer(verified(verdict)),
            Err(error) => verify_token_result::Result::Error(error_reason(error.reason()).into()),
        };
        let results = verdicts
            .into_iter()
            .map(|verdict| proto::VerifyTokenResult {
                result: Some(result(verdict)),
            });
        results.collect()
    }

    /// The session to be revoked, and the subject that it must belong to. Without a subject the
    /// session may be anybody's.
    fn session_and_owner(
        &self,
        message: proto::RevokeSessionRequest,
        caller: &Calling,
    ) -> Result<(SessionId, Option<Subject>)> {
        let mut errors = FieldErrors::default();
        let session = parse::id(&message.session_id, SessionId::parse);
        let session = errors.check("session_id", session);
        let any = Permission::TokenRevokeAny;
        let subject = if message.subject.is_some() {
            self.subject(message.subject, caller, any, &mut errors)?
        } else {
            caller.require(any)?;
            None
        };
        errors.build(|| Some((session?, subject)))
    }
}

fn mint(message: proto::MintSessionRequest) -> Result<Mint> {
    let mut errors = FieldErrors::default();
    let user_id = errors.check("user_id", parse::id(&message.user_id, UserId::parse));
    let (address, device) = parse::optional_client(message.client, &mut errors);
    let ttl = parse::duration(message.ttl).and_then(|ttl| match ttl {
        Some(ttl) if ttl < SHORTEST_SESSION => Err("must be at least a second"),
        ttl => Ok(ttl),
    });
    let ttl = errors.check("ttl", ttl);
    let request_id = errors.check("request_id", RequestId::parse(message.request_id));
    errors.build(|| {
        Some(Mint {
            user_id: user_id?,
            address,
            device,
            ttl: ttl?,
            request_id: request_id?,
        })
    })
}
