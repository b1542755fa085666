//! What VerifyToken answers.

use super::convert::{duration, time};
use super::exchange::actor;
use super::proto::{self, InactiveReason, VerifyTokenResponse};
use crate::model::email::Email;
use crate::token::{Inactive, LiveToken, Verdict};

fn inactive(reason: Inactive) -> InactiveReason {
    match reason {
        Inactive::Invalid => InactiveReason::Invalid,
        Inactive::Expired => InactiveReason::Expired,
        Inactive::SessionRevoked => InactiveReason::SessionRevoked,
        Inactive::Banned { .. } => InactiveReason::Banned,
    }
}

/// The answer for a token.
pub(super) fn verified(verdict: Verdict) -> VerifyTokenResponse {
    match verdict {
        Verdict::Active(live) => active(&live),
        Verdict::Inactive(reason) => VerifyTokenResponse {
            inactive_reason: inactive(reason).into(),
            ..Default::default()
        },
    }
}

fn active(live: &LiveToken) -> VerifyTokenResponse {
    let (token, session, user) = (live.claims(), &live.state.session, &live.state.user);
    let claims = proto::TokenClaims {
        user_id: user.id.to_string(),
        session_id: session.id.to_string(),
        email: user.email.as_ref().map_or("", Email::as_str).to_owned(),
        email_verified: user.email_verified,
        username: user.username.clone(),
        role: user.role.clone(),
        provider: session.provider.clone(),
        audience: token.aud.clone(),
        scopes: token
            .scopes()
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect(),
        actor: token.act.as_deref().map(actor),
        auth_time: time(token.auth_time),
        amr: token.amr.clone(),
        acr: session.acr.clone(),
        issue_time: time(token.iat),
        expire_time: time(token.exp),
        token_id: token.jti.clone(),
        name: user.name.clone(),
    };
    VerifyTokenResponse {
        active: true,
        inactive_reason: InactiveReason::Unspecified.into(),
        claims: Some(claims),
        cache_ttl: Some(duration(live.cache_ttl)),
    }
}
