//! Deleting what has expired, in batches: each is a transaction of its own, so that other writers of
//! SQLite wait for one batch at most.

use const_format::concatcp;
use sqlx::query;

use super::Store;
use super::backend::{statements, writing};
use super::error::StoreError;
use super::statement::Statement;
use crate::clock::Timestamp;

/// How many rows a batch deletes. It is part of the statements, because PostgreSQL plans for a tenth
/// of the table if a limit is a parameter.
pub(super) const BATCH: u64 = 50;

/// Rows that expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expired {
    /// Sign-ins at a provider that were not completed in time.
    FederatedLogins,
    /// Provider tokens whose session has expired.
    FederatedTokens,
    /// Sessions that expired.
    Sessions,
    /// Changes of the feed, by when they were made.
    Changes,
    /// Limiters' windows that ended.
    Limits,
    /// Scores that expired.
    Scores,
    /// Violations by when they were recorded, and with them the answers to their request ids.
    Violations,
    /// Bans that expired.
    Bans,
    /// Bans that were lifted.
    LiftedBans,
}

// Without its order PostgreSQL would read the table from one end until it has a batch, which takes
// long when little has expired.
statements! {
    FEDERATED_LOGINS = concatcp!("DELETE FROM federated_logins WHERE state_hash IN
        (SELECT state_hash FROM federated_logins WHERE expire_time <= $1 ORDER BY expire_time LIMIT ", BATCH, ")");
    FEDERATED_TOKENS = concatcp!("DELETE FROM federated_tokens WHERE (session_id, identity_id) IN
        (SELECT session_id, identity_id FROM federated_tokens WHERE session_expire_time <= $1 ORDER BY session_expire_time LIMIT ", BATCH, ")");
    SESSIONS = concatcp!("DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expire_time <= $1 ORDER BY expire_time LIMIT ", BATCH, ")");
    LIMITS = concatcp!("DELETE FROM limits WHERE (name, target) IN
        (SELECT name, target FROM limits WHERE reset_time <= $1 ORDER BY reset_time LIMIT ", BATCH, ")");
    SCORES = concatcp!("DELETE FROM scores WHERE (type, target_kind, target) IN
        (SELECT type, target_kind, target FROM scores WHERE expire_time <= $1 ORDER BY expire_time LIMIT ", BATCH, ")");
    VIOLATIONS = concatcp!("DELETE FROM violations WHERE id IN (SELECT id FROM violations WHERE create_time <= $1 ORDER BY create_time LIMIT ", BATCH, ")");
    BANS = concatcp!("DELETE FROM bans WHERE id IN (SELECT id FROM bans WHERE expire_time <= $1 ORDER BY expire_time LIMIT ", BATCH, ")");
    LIFTED_BANS = concatcp!("DELETE FROM bans WHERE id IN (SELECT id FROM bans WHERE lift_time <= $1 ORDER BY lift_time LIMIT ", BATCH, ")");
    CHANGES = concatcp!("DELETE FROM changes WHERE number IN (SELECT number FROM changes WHERE create_time <= $1 ORDER BY create_time LIMIT ", BATCH, ")");
}

impl Expired {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::FederatedLogins,
        Self::FederatedTokens,
        Self::Sessions,
        Self::Changes,
        Self::Limits,
        Self::Scores,
        Self::Violations,
        Self::Bans,
        Self::LiftedBans,
    ];

    const fn statement(self) -> Statement {
        match self {
            Self::FederatedLogins => FEDERATED_LOGINS,
            Self::FederatedTokens => FEDERATED_TOKENS,
            Self::Sessions => SESSIONS,
            Self::Limits => LIMITS,
            Self::Scores => SCORES,
            Self::Violations => VIOLATIONS,
            Self::Bans => BANS,
            Self::LiftedBans => LIFTED_BANS,
            Self::Changes => CHANGES,
        }
    }
}

impl Store {
    /// Deletes the rows that had expired by `before`.
    pub async fn delete_expired(&self, rows: Expired, before: Timestamp) -> Result<(), StoreError> {
        while self.delete_batch(rows, before).await? == BATCH {}
        Ok(())
    }

    /// Deletes a batch of the rows that had expired by `before`, and returns how many there were.
    pub(super) async fn delete_batch(
        &self,
        rows: Expired,
        before: Timestamp,
    ) -> Result<u64, StoreError> {
        writing!(self, rows.statement(), |db, sql| query(sql)
            .bind(before.millis())
            .execute(db)
            .await
            .map(|done| done.rows_affected()))
    }
}
