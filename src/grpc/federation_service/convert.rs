//! The federation service's messages from and to the types of the rooms below.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};

use super::super::convert::time;
use super::super::proto::{
    self, FederatedTokenKind as WireKind, FederatedTokenState as WireState, OutcomeStatus,
};
use crate::federation::{TokenKind, TokenStatus};
use crate::model::provider_tokens::TokenState;
use crate::template::outcome::Outcome;
use crate::template::vocabulary::{BodyField, Status as Resolution};

/// The fields of a chat request's body that were given.
pub(super) fn body_fields(body: proto::RequestBody) -> HashMap<BodyField, String> {
    let fields = [
        (BodyField::ConversationId, body.conversation_id),
        (BodyField::ParentMessageId, body.parent_message_id),
        (BodyField::MessageId, body.message_id),
    ];
    fields
        .into_iter()
        .filter_map(|(field, value)| Some((field, value?)))
        .collect()
}

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

pub(super) fn token_status(status: TokenStatus) -> proto::FederatedTokenStatus {
    let state = match status.state {
        TokenState::Active => WireState::Active,
        TokenState::Refreshing => WireState::Refreshing,
        TokenState::Backoff { .. } => WireState::Backoff,
        TokenState::ReconnectRequired => WireState::ReconnectRequired,
    };
    let kind = match status.kind {
        TokenKind::Access => WireKind::Access,
        TokenKind::Id => WireKind::Id,
    };
    proto::FederatedTokenStatus {
        provider: status.provider,
        kind: kind.into(),
        state: state.into(),
        refreshable: status.refreshable,
        expire_time: time(status.expire_time),
        scopes: status.scopes,
    }
}
