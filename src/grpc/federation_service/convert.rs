//! Answers of the federation service.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::super::convert::time;
use super::super::proto::{self, OutcomeStatus, TokenState as WireState};
use crate::federation::{TokenKind, TokenStatus};
use crate::model::provider_tokens::TokenState;
use crate::template::outcome::Outcome;
use crate::template::vocabulary::Status as Resolution;

pub(super) fn outcomes(outcomes: Vec<Outcome>) -> Vec<proto::PlaceholderOutcome> {
    let outcome = |outcome: Outcome| proto::PlaceholderOutcome {
        entry: outcome.entry,
        placeholder: outcome.placeholder,
        status: status_of(outcome.status).into(),
    };
    outcomes.into_iter().map(outcome).collect()
}

fn status_of(status: Resolution) -> OutcomeStatus {
    match status {
        Resolution::Resolved => OutcomeStatus::Resolved,
        Resolution::Missing => OutcomeStatus::Missing,
        Resolution::Expired => OutcomeStatus::Expired,
        Resolution::NotFederated => OutcomeStatus::NotFederated,
        Resolution::NotAllowed => OutcomeStatus::NotAllowed,
        Resolution::ReconnectRequired => OutcomeStatus::ReconnectRequired,
        Resolution::UnknownName => OutcomeStatus::UnknownName,
        Resolution::UnsafeValue => OutcomeStatus::UnsafeValue,
    }
}

pub(super) fn text(value: Option<Json>) -> String {
    match value {
        Some(Json::String(text)) => text,
        _ => String::new(),
    }
}

pub(super) fn texts(object: Option<Json>) -> HashMap<String, String> {
    let members: Map<_, _> = match object {
        Some(Json::Object(members)) => members,
        _ => Map::new(),
    };
    members
        .into_iter()
        .map(|(name, value)| (name, text(Some(value))))
        .collect()
}

pub(super) fn token_status(status: TokenStatus) -> proto::TokenStatus {
    let state = match status.state {
        TokenState::Active => WireState::Active,
        TokenState::Refreshing { .. } => WireState::Refreshing,
        TokenState::Backoff { .. } => WireState::Backoff,
        TokenState::ReconnectRequired => WireState::ReconnectRequired,
    };
    let kind = match status.kind {
        TokenKind::Access => proto::TokenKind::Access,
        TokenKind::Id => proto::TokenKind::Id,
    };
    proto::TokenStatus {
        provider: status.provider,
        kind: kind.into(),
        state: state.into(),
        refreshable: status.refreshable,
        expire_time: time(status.expire_time),
        scopes: status.scopes,
    }
}
