//! What the sealed values of a row are bound to.
//!
//! Whoever can write to the database must not be able to give tokens to another account or another
//! provider, to prolong them, to widen their scopes, or to make up a state. A seal cannot tell that
//! a whole row was put back as it once was: that row holds no more than it did then.

use crate::clock::Timestamp;
use crate::id::{IdentityId, SessionId, UserId};
use crate::model::provider_tokens::{StoredTokens, TokenState};

/// The row, and whose account at which provider it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Binding<'a> {
    pub session: &'a SessionId,
    pub identity: &'a IdentityId,
    pub user: &'a UserId,
    pub issuer: &'a str,
    pub subject: &'a str,
    pub provider: &'a str,
}

/// What holds of all tokens of one version.
pub(super) struct Terms<'a> {
    pub version: i64,
    pub update_time: Timestamp,
    pub access_expire_time: Timestamp,
    pub id_expire_time: Option<Timestamp>,
    pub scopes: &'a str,
}

impl<'a> Binding<'a> {
    pub(super) fn of(stored: &'a StoredTokens) -> Self {
        Self {
            session: &stored.key.session_id,
            identity: &stored.key.identity_id,
            user: &stored.user_id,
            issuer: &stored.issuer,
            subject: &stored.subject,
            provider: &stored.provider,
        }
    }

    /// The context of the value in one column.
    pub(super) fn column(self, column: &str, terms: &Terms<'_>) -> Vec<String> {
        let mut context = self.row(column);
        context.extend([
            terms.version.to_string(),
            text(Some(terms.update_time)),
            text(Some(terms.access_expire_time)),
            text(terms.id_expire_time),
            terms.scopes.to_owned(),
        ]);
        context
    }

    /// The context of the seal over a state.
    pub(super) fn state(self, state: TokenState, version: i64) -> Vec<String> {
        let mut context = self.row("state");
        context.extend([
            version.to_string(),
            state.name().to_owned(),
            text(state.retry()),
        ]);
        context
    }

    /// The context of values that were sealed before there was a seal over the state.
    pub(super) fn row(self, column: &str) -> Vec<String> {
        [
            "federated_tokens",
            column,
            self.session.as_str(),
            self.user.as_str(),
            self.identity.as_str(),
            self.issuer,
            self.subject,
            self.provider,
        ]
        .map(str::to_owned)
        .into()
    }
}

impl<'a> Terms<'a> {
    pub(super) fn of(stored: &'a StoredTokens) -> Self {
        Self {
            version: stored.version,
            update_time: stored.content.update_time,
            access_expire_time: stored.content.access_expire_time,
            id_expire_time: stored.content.id_expire_time,
            scopes: &stored.content.scopes,
        }
    }
}

fn text(time: Option<Timestamp>) -> String {
    time.map(|time| time.millis().to_string())
        .unwrap_or_default()
}
