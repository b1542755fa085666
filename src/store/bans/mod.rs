//! Bans of users and of addresses.

mod prefix;

use std::net::IpAddr;

use const_format::concatcp;
use sqlx::{query, query_as};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, transaction};
use super::error::StoreError;

use super::record::{Bind as _, Record as _, record};
use super::sessions;
use crate::clock::Timestamp;
use crate::id::{BanId, UserId, ViolationId};
use crate::metrics::Lane;
use crate::metrics::{Banned, Cause, Ended};
use crate::model::ban::{Ban, BanTarget};
use crate::model::change::Change;
use crate::model::network::Network;
use crate::model::page::{Page, PageRequest};

/// A ban as stored: of a user or of a network.
struct BanRow {
    id: BanId,
    user_id: Option<UserId>,
    network: Option<Network>,
    reason: String,
    violation_type: String,
    caller: String,
    create_time: Timestamp,
    expire_time: Option<Timestamp>,
}

record!(BanRow, "bans", key id, {
    id, user_id, network, reason, violation_type, caller, create_time, expire_time,
});

/// A ban of addresses that was stored before bans had a prefix.
struct OldBan {
    id: BanId,
    network: Network,
}

record!(OldBan, "bans", key id, { id, network });

/// In force at `$3`.
const IN_FORCE: &str = "lift_time IS NULL AND (expire_time IS NULL OR expire_time > $3)";
/// The number stands for a ban that lasts until it is lifted.
const LONGEST: &str = "ORDER BY COALESCE(expire_time, 9223372036854775807) DESC, id LIMIT 1";

statements! {
    INSERT = concatcp!(
        "INSERT INTO bans (", BanRow::COLUMNS, ", prefix, violation_id, request_id) VALUES (", BanRow::PLACEHOLDERS, ", $9, $10, $11)
        ON CONFLICT (caller, request_id) WHERE request_id IS NOT NULL DO NOTHING"
    );
    ADD_PREFIX_LENGTH = "INSERT INTO ban_prefix_lengths (length) VALUES ($1) ON CONFLICT (length) DO NOTHING";
    FIND_BY_REQUEST = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans WHERE caller = $1 AND request_id = $2");
    /// The longest-lasting ban in force of a user or an address. It is put together from look-ups of
    /// one row each, because PostgreSQL does not know how few lengths there are, and would scan all
    /// bans for a join with them.
    FIND = concatcp!(
        "SELECT ", BanRow::COLUMNS, " FROM bans WHERE id = (
            SELECT found.id FROM (
                SELECT (SELECT id FROM bans WHERE user_id = $1 AND ", IN_FORCE, " ", LONGEST, ") AS id
                UNION ALL
                SELECT (SELECT id FROM bans WHERE prefix = substr(CAST($2 AS TEXT), 1, CAST(lengths.length AS INTEGER)) AND ", IN_FORCE, " ", LONGEST, ")
                FROM ban_prefix_lengths lengths
            ) found
            WHERE found.id IS NOT NULL
            ORDER BY (SELECT COALESCE(b.expire_time, 9223372036854775807) FROM bans b WHERE b.id = found.id) DESC, found.id LIMIT 1
        )"
    );
    FIND_BY_ID = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans WHERE id = $1");
    FIND_BY_VIOLATION = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans WHERE violation_id = $1 ORDER BY network IS NOT NULL");
    LIST = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans
        WHERE lift_time IS NULL AND (expire_time IS NULL OR expire_time > $1) AND (create_time, id) < ($2, $3)
        ORDER BY create_time DESC, id DESC LIMIT $4");
    LIFT = concatcp!("UPDATE bans SET lift_time = $2 WHERE id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)
        RETURNING ", BanRow::COLUMNS);
    LIST_WITHOUT_PREFIX = "SELECT id, network FROM bans WHERE network IS NOT NULL AND prefix IS NULL LIMIT 500";
    SET_PREFIX = "UPDATE bans SET prefix = $2 WHERE id = $1";
}

impl TryFrom<BanRow> for Ban {
    type Error = StoreError;

    fn try_from(row: BanRow) -> Result<Self, StoreError> {
        let target = match (row.user_id, row.network) {
            (Some(user), None) => BanTarget::User(user),
            (None, Some(network)) => BanTarget::Network(network),
            _ => return Err(StoreError::corrupt("bans", "user_id", row.id)),
        };
        Ok(Self {
            id: row.id,
            target,
            reason: row.reason,
            violation_type: row.violation_type,
            caller: row.caller,
            create_time: row.create_time,
            expire_time: row.expire_time,
        })
    }
}

impl From<Ban> for BanRow {
    fn from(ban: Ban) -> Self {
        Self {
            id: ban.id,
            user_id: ban.target.user().cloned(),
            network: ban.target.network(),
            reason: ban.reason,
            violation_type: ban.violation_type,
            caller: ban.caller,
            create_time: ban.create_time,
            expire_time: ban.expire_time,
        }
    }
}

impl Store {
    /// Stores a ban and returns it; a banned user's sessions end, and their provider tokens are
    /// deleted. If the caller's request id made a ban before, returns that one and changes nothing.
    pub async fn insert_ban(&self, ban: &Ban, request_id: Option<&str>) -> Result<Ban, StoreError> {
        let inserted = transaction!(self, |tx| {
            let Some(ended) = insert(&mut tx, ban, None, request_id).await? else {
                let earlier = find_by_request(&mut tx, &ban.caller, request_id).await?;
                return Ok(Err(earlier));
            };
            tx.commit().await?;
            Ok(Ok(ended))
        })?;
        match inserted {
            Ok(ended) => {
                self.count_ban(ban, Cause::Caller);
                self.count_ended(Ended::Banned, ended);
                Ok(ban.clone())
            }
            Err(earlier) => Ok(earlier),
        }
    }

    /// Lifts a ban and returns it as it was; `None` if no ban with this id is in force.
    pub async fn lift_ban(&self, id: &BanId, now: Timestamp) -> Result<Option<Ban>, StoreError> {
        // In a transaction: SQLite commits a lone RETURNING statement after its row is read, and
        // sqlx drops an error of that commit.
        let row = transaction!(self, |tx| {
            let row = in_tx!(tx, LIFT, |db, sql| query_as::<_, BanRow>(sql)
                .bind(id.as_str())
                .bind(now.millis())
                .fetch_optional(db)
                .await)?;
            if let Some(row) = &row {
                let (ban, user) = (row.id.clone(), row.user_id.clone());
                tx.note(Change::BanLifted { ban, user });
            }
            tx.commit().await?;
            Ok(row)
        })?;
        row.map(Ban::try_from).transpose()
    }

    /// The longest-lasting ban in force of the user or of a network that contains the address.
    pub async fn find_ban(
        &self,
        user: Option<&UserId>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Ban>, StoreError> {
        let row = reading!(self, FIND, |db, sql| query_as::<_, BanRow>(sql)
            .bind(user.map(UserId::as_str))
            .bind(address.map(prefix::of_address))
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        row.map(Ban::try_from).transpose()
    }

    /// The longest-lasting ban in force of an address from which somebody wants to sign in. It takes a
    /// turn of the sign-ins.
    pub async fn find_ban_of_stranger(
        &self,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Option<Ban>, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        self.find_ban(None, Some(address), now).await
    }

    /// The ban with this id, in force or not.
    pub async fn find_ban_by_id(&self, id: &BanId) -> Result<Option<Ban>, StoreError> {
        let row = reading!(self, FIND_BY_ID, |db, sql| query_as::<_, BanRow>(sql)
            .bind(id.as_str())
            .fetch_optional(db)
            .await)?;
        row.map(Ban::try_from).transpose()
    }

    /// Bans in force, newest first.
    pub async fn list_bans(
        &self,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<Page<Ban>, StoreError> {
        let (time, id) = page.descending();
        let rows = reading!(self, LIST, |db, sql| query_as::<_, BanRow>(sql)
            .bind(now.millis())
            .bind(time)
            .bind(id)
            .bind(page.limit())
            .fetch_all(db)
            .await)?;
        let bans: Result<_, _> = rows.into_iter().map(Ban::try_from).collect();
        Ok(Page::new(bans?, page))
    }

    /// Gives the bans that were stored before bans had a prefix theirs.
    pub(super) async fn index_old_bans(&self) -> Result<(), StoreError> {
        loop {
            let old = reading!(self, LIST_WITHOUT_PREFIX, |db, sql| query_as::<_, OldBan>(
                sql
            )
            .fetch_all(db)
            .await)?;
            if old.is_empty() {
                return Ok(());
            }
            transaction!(self, |tx| {
                for ban in &old {
                    let prefix = prefix::of_network(ban.network);
                    add_prefix_length(&mut tx, &prefix).await?;
                    in_tx!(tx, SET_PREFIX, |db, sql| query(sql)
                        .bind(ban.id.as_str())
                        .bind(&prefix)
                        .execute(db)
                        .await
                        .map(drop))?;
                }
                tx.commit().await
            })?;
        }
    }

    /// Counts a ban that was committed.
    pub(super) fn count_ban(&self, ban: &Ban, cause: Cause) {
        let target = match ban.target {
            BanTarget::User(_) => Banned::User,
            BanTarget::Network(_) => Banned::Network,
        };
        self.metrics.moderation.bans.of((target, cause)).inc();
    }
}

/// Stores a ban within a transaction, and ends a banned user's sessions; returns how many it ended,
/// or `None` if the request id made a ban before.
pub(super) async fn insert(
    tx: &mut Tx,
    ban: &Ban,
    violation: Option<&ViolationId>,
    request_id: Option<&str>,
) -> Result<Option<u64>, StoreError> {
    let row = BanRow::from(ban.clone());
    let prefix = row.network.map(prefix::of_network);
    let inserted = in_tx!(*tx, INSERT, |db, sql| row
        .bind_to(query(sql))
        .bind(&prefix)
        .bind(violation.map(ViolationId::as_str))
        .bind(request_id)
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    if inserted == 0 {
        return Ok(None);
    }
    if let Some(prefix) = &prefix {
        add_prefix_length(tx, prefix).await?;
    }
    let user = ban.target.user();
    let ended = match user {
        Some(user) => {
            sessions::ending::revoke_all(tx, user, None, Ended::Banned, ban.create_time).await?
        }
        None => 0,
    };
    let (id, user) = (ban.id.clone(), user.cloned());
    tx.note(Change::Banned { ban: id, user });
    Ok(Some(ended))
}

async fn add_prefix_length(tx: &mut Tx, prefix: &str) -> Result<(), StoreError> {
    let length = i64::try_from(prefix.len()).unwrap_or(i64::MAX);
    in_tx!(*tx, ADD_PREFIX_LENGTH, |db, sql| query(sql)
        .bind(length)
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}

/// The ban that a caller's request id made.
async fn find_by_request(
    tx: &mut Tx,
    caller: &str,
    request_id: Option<&str>,
) -> Result<Ban, StoreError> {
    let row = in_tx!(*tx, FIND_BY_REQUEST, |db, sql| query_as::<_, BanRow>(sql)
        .bind(caller)
        .bind(request_id)
        .fetch_one(db)
        .await)?;
    Ban::try_from(row)
}

/// The bans that a violation led to, the user's first.
pub(super) async fn of_violation(tx: &mut Tx, violation: &str) -> Result<Vec<Ban>, StoreError> {
    let rows = in_tx!(*tx, FIND_BY_VIOLATION, |db, sql| query_as::<_, BanRow>(sql)
        .bind(violation)
        .fetch_all(db)
        .await)?;
    rows.into_iter().map(Ban::try_from).collect()
}

#[cfg(test)]
mod tests;
