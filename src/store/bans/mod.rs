//! Bans of users and of addresses.

use std::net::IpAddr;

use const_format::concatcp;
use sqlx::{query, query_as};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, transaction, writing};
use super::changes::Change;
use super::error::StoreError;
use super::record::{Record as _, record};
use super::sessions;
use crate::clock::Timestamp;
use crate::id::{BanId, UserId, ViolationId};
use crate::model::ban::{Ban, BanTarget};
use crate::model::network::Network;
use crate::model::page::{Page, PageRequest};

/// The revoke reason of a banned user's sessions.
pub(super) const REVOKE_REASON: &str = "banned";

/// A ban as stored: of a user or of a network.
struct BanRow {
    id: BanId,
    user_id: Option<UserId>,
    network: Option<Network>,
    reason: String,
    create_time: Timestamp,
    expire_time: Option<Timestamp>,
}

record!(BanRow, "bans", key id, { id, user_id, network, reason, create_time, expire_time });

statements! {
    INSERT = "INSERT INTO bans (id, violation_id, user_id, network, range_first, range_last, reason, create_time, expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    /// The longest-lasting ban in force of a user or an address. The number stands for a ban that
    /// lasts until it is lifted.
    FIND = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans
        WHERE lift_time IS NULL AND (expire_time IS NULL OR expire_time > $3)
            AND (user_id = $1 OR (range_first <= $2 AND range_last >= $2))
        ORDER BY COALESCE(expire_time, 9223372036854775807) DESC, id LIMIT 1");
    FIND_BY_VIOLATION = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans WHERE violation_id = $1 ORDER BY network IS NOT NULL");
    LIST = concatcp!("SELECT ", BanRow::COLUMNS, " FROM bans
        WHERE lift_time IS NULL AND (expire_time IS NULL OR expire_time > $1) AND (create_time < $2 OR (create_time = $2 AND id < $3))
        ORDER BY create_time DESC, id DESC LIMIT $4");
    LIFT = concatcp!("UPDATE bans SET lift_time = $2 WHERE id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)
        RETURNING ", BanRow::COLUMNS);
    DELETE_EXPIRED = "DELETE FROM bans WHERE lift_time <= $1 OR expire_time <= $1";
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
            create_time: row.create_time,
            expire_time: row.expire_time,
        })
    }
}

impl Store {
    /// Stores a ban. A banned user's sessions end, and their provider tokens are deleted.
    pub async fn insert_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        transaction!(self, |tx| {
            insert(&mut tx, ban, None).await?;
            tx.commit().await
        })?;
        self.publish_ban(ban);
        Ok(())
    }

    /// Lifts a ban and returns it as it was; `None` if no ban with this id is in force.
    pub async fn lift_ban(&self, id: &BanId, now: Timestamp) -> Result<Option<Ban>, StoreError> {
        // In a transaction: SQLite commits a lone RETURNING statement after its row is read, and
        // sqlx drops an error of that commit.
        let row = transaction!(self, |tx| {
            let row = in_tx!(tx, |db| query_as::<_, BanRow>(LIFT)
                .bind(id.as_str())
                .bind(now.millis())
                .fetch_optional(db)
                .await)?;
            tx.commit().await?;
            Ok(row)
        })?;
        let ban = row.map(Ban::try_from).transpose()?;
        if let Some(ban) = &ban {
            self.publish_ban(ban);
        }
        Ok(ban)
    }

    /// The longest-lasting ban in force of the user or of a network that contains the address.
    pub async fn find_ban(
        &self,
        user: Option<&UserId>,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Option<Ban>, StoreError> {
        let row = reading!(self, |db| query_as::<_, BanRow>(FIND)
            .bind(user.map(UserId::as_str))
            .bind(address.map(comparable))
            .bind(now.millis())
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
        let rows = reading!(self, |db| query_as::<_, BanRow>(LIST)
            .bind(now.millis())
            .bind(time)
            .bind(id)
            .bind(page.limit())
            .fetch_all(db)
            .await)?;
        let bans: Result<_, _> = rows.into_iter().map(Ban::try_from).collect();
        Ok(Page::new(bans?, page))
    }

    /// Deletes bans that had ended or been lifted by `before`.
    pub async fn delete_expired_bans(&self, before: Timestamp) -> Result<(), StoreError> {
        writing!(self, |db| query(DELETE_EXPIRED)
            .bind(before.millis())
            .execute(db)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Announces that the banned user's state has changed.
    fn publish_ban(&self, ban: &Ban) {
        if let BanTarget::User(user) = &ban.target {
            self.publish(&Change::UserChanged(user.clone()));
        }
    }
}

/// The address as bytes that both engines compare alike, after a byte for its family. IPv4
/// addresses are not mapped into IPv6, because all of them would then lie in `::/64`, the network
/// of `::1`.
fn comparable(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [[4].as_slice(), &ip.octets()].concat(),
        IpAddr::V6(ip) => [[6].as_slice(), &ip.octets()].concat(),
    }
}

/// Stores a ban within a transaction, and ends a banned user's sessions.
pub(super) async fn insert(
    tx: &mut Tx,
    ban: &Ban,
    violation: Option<&ViolationId>,
) -> Result<(), StoreError> {
    let (user, network) = (ban.target.user(), ban.target.network());
    in_tx!(*tx, |db| query(INSERT)
        .bind(ban.id.as_str())
        .bind(violation.map(ViolationId::as_str))
        .bind(user.map(UserId::as_str))
        .bind(network.map(|network| network.to_string()))
        .bind(network.map(|network| comparable(network.first())))
        .bind(network.map(|network| comparable(network.last())))
        .bind(&ban.reason)
        .bind(ban.create_time.millis())
        .bind(ban.expire_time.map(Timestamp::millis))
        .execute(db)
        .await
        .map(drop))?;
    if let Some(user) = user {
        sessions::ending::revoke_all(tx, user, None, REVOKE_REASON, ban.create_time).await?;
    }
    Ok(())
}

/// The bans that a violation led to, the user's first.
pub(super) async fn of_violation(tx: &mut Tx, violation: &str) -> Result<Vec<Ban>, StoreError> {
    let rows = in_tx!(*tx, |db| query_as::<_, BanRow>(FIND_BY_VIOLATION)
        .bind(violation)
        .fetch_all(db)
        .await)?;
    rows.into_iter().map(Ban::try_from).collect()
}

#[cfg(test)]
mod tests;
