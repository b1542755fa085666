//! Bans of users and of addresses.

use std::net::IpAddr;

use sqlx::{query, query_as};

use super::backend::{Tx, reading, row, statements, within, writing};
use super::changes::Change;
use super::network::{Network, comparable};
use super::{Store, StoreError, sessions, time};
use crate::clock::Timestamp;
use crate::id::{BanId, UserId, ViolationId};

/// Why a banned user's sessions ended.
pub(super) const REVOKE_REASON: &str = "banned";

statements! {
    INSERT = "INSERT INTO bans (id, violation_id, user_id, network, range_first, range_last, reason, create_time, expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    /// The ban in force that lasts longest, of a user or of an address.
    FIND = "SELECT id, user_id, network, reason, create_time, expire_time FROM bans
        WHERE lift_time IS NULL AND (expire_time IS NULL OR expire_time > $3)
            AND (user_id = $1 OR (range_first <= $2 AND range_last >= $2))
        ORDER BY COALESCE(expire_time, 9223372036854775807) DESC, id LIMIT 1";
    FIND_BY_VIOLATION = "SELECT id, user_id, network, reason, create_time, expire_time FROM bans WHERE violation_id = $1 ORDER BY network IS NOT NULL";
    LIST = "SELECT id, user_id, network, reason, create_time, expire_time FROM bans
        WHERE lift_time IS NULL AND (expire_time IS NULL OR expire_time > $1) AND (create_time < $2 OR (create_time = $2 AND id < $3))
        ORDER BY create_time DESC, id DESC LIMIT $4";
    LIFT = "UPDATE bans SET lift_time = $2 WHERE id = $1 AND lift_time IS NULL AND (expire_time IS NULL OR expire_time > $2)
        RETURNING id, user_id, network, reason, create_time, expire_time";
    DELETE_EXPIRED = "DELETE FROM bans WHERE lift_time <= $1 OR expire_time <= $1";
}

/// A refusal of a user or of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    pub id: BanId,
    pub target: BanTarget,
    /// The violation type that crossed the interval, or an administrator's words.
    pub reason: String,
    pub create_time: Timestamp,
    /// `None` for a ban until lifted.
    pub expire_time: Option<Timestamp>,
}

/// Whom a ban refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanTarget {
    User(UserId),
    Network(Network),
}

impl BanTarget {
    fn user(&self) -> Option<&UserId> {
        match self {
            Self::User(user) => Some(user),
            Self::Network(_) => None,
        }
    }

    fn network(&self) -> Option<Network> {
        match self {
            Self::User(_) => None,
            Self::Network(network) => Some(*network),
        }
    }
}

row! {
    pub(super) struct BanRow {
        id: String,
        user_id: Option<String>,
        network: Option<String>,
        reason: String,
        create_time: i64,
        expire_time: Option<i64>,
    }
}

impl TryFrom<BanRow> for Ban {
    type Error = StoreError;

    fn try_from(row: BanRow) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("bans", column, &row.id);
        let target = match (&row.user_id, &row.network) {
            (Some(user), None) => BanTarget::User(UserId::parse(user).ok_or_else(|| corrupt("user_id"))?),
            (None, Some(network)) => BanTarget::Network(network.parse().map_err(|_| corrupt("network"))?),
            _ => return Err(corrupt("user_id")),
        };
        Ok(Self {
            id: BanId::parse(&row.id).ok_or_else(|| corrupt("id"))?,
            target,
            reason: row.reason,
            create_time: time(row.create_time),
            expire_time: row.expire_time.map(time),
        })
    }
}

impl Store {
    /// Bans; a user's sessions end and their provider tokens are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_ban(&self, ban: &Ban) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, ban, None).await?;
        tx.commit().await?;
        self.publish_ban(ban);
        Ok(())
    }

    /// Lifts a ban in force and gives it; `None` where there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lift_ban(&self, id: &BanId, now: Timestamp) -> Result<Option<Ban>, StoreError> {
        // A transaction, because SQLite commits a lone statement after its row is out, where sqlx drops an error.
        let mut tx = self.begin().await?;
        let row = within!(tx, |db| query_as::<_, BanRow>(LIFT).bind(id.as_str()).bind(now.millis()).fetch_optional(db).await)?;
        tx.commit().await?;
        let ban = row.map(Ban::try_from).transpose()?;
        if let Some(ban) = &ban {
            self.publish_ban(ban);
        }
        Ok(ban)
    }

    /// The ban in force that lasts longest, of the user or of a network that the address lies in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_ban(&self, user: Option<&UserId>, address: Option<IpAddr>, now: Timestamp) -> Result<Option<Ban>, StoreError> {
        let row = reading!(self, |db| query_as::<_, BanRow>(FIND)
            .bind(user.map(UserId::as_str))
            .bind(address.map(comparable))
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        row.map(Ban::try_from).transpose()
    }

    /// Bans in force made before (`create_time`, `id`), newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_bans(&self, before: (i64, &str), limit: i64, now: Timestamp) -> Result<Vec<Ban>, StoreError> {
        let rows = reading!(self, |db| query_as::<_, BanRow>(LIST)
            .bind(now.millis())
            .bind(before.0)
            .bind(before.1)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        rows.into_iter().map(Ban::try_from).collect()
    }

    /// Forgets bans that were over at `before`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delete_expired_bans(&self, before: Timestamp) -> Result<(), StoreError> {
        writing!(self, |db| query(DELETE_EXPIRED).bind(before.millis()).execute(db).await.map(drop))?;
        Ok(())
    }

    /// Tells those who hold the banned user's state.
    fn publish_ban(&self, ban: &Ban) {
        if let BanTarget::User(user) = &ban.target {
            self.publish(&Change::UserChanged(user.clone()));
        }
    }
}

/// Bans within a transaction, which also ends a banned user's sessions.
pub(super) async fn insert(tx: &mut Tx, ban: &Ban, violation: Option<&ViolationId>) -> Result<(), StoreError> {
    let (user, network) = (ban.target.user(), ban.target.network());
    within!(*tx, |db| query(INSERT)
        .bind(ban.id.as_str())
        .bind(violation.map(ViolationId::as_str))
        .bind(user.map(UserId::as_str))
        .bind(network.map(|network| network.to_string()))
        .bind(network.map(Network::first))
        .bind(network.map(Network::last))
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

/// The bans that a violation made, the user's first.
pub(super) async fn of_violation(tx: &mut Tx, violation: &str) -> Result<Vec<Ban>, StoreError> {
    let rows = within!(*tx, |db| query_as::<_, BanRow>(FIND_BY_VIOLATION).bind(violation).fetch_all(db).await)?;
    rows.into_iter().map(Ban::try_from).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::testing::{on_each_engine, signed_in};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);
    const FIRST_PAGE: (i64, &str) = (i64::MAX, "");

    fn network_ban(network: &str, duration: Option<Duration>) -> Ban {
        ban(BanTarget::Network(network.parse().expect("a network")), NOW, duration)
    }

    fn ban(target: BanTarget, now: Timestamp, duration: Option<Duration>) -> Ban {
        let expire_time = duration.map(|duration| now.plus(duration));
        Ban { id: BanId::new(now), target, reason: "spam".to_owned(), create_time: now, expire_time }
    }

    async fn network_banned(store: &Store, address: &str) -> Option<String> {
        let address = address.parse().expect("an address");
        let ban = store.find_ban(None, Some(address), NOW).await.expect("answers")?;
        ban.target.network().map(|network| network.to_string())
    }

    #[tokio::test]
    async fn a_network_is_banned_from_its_first_to_its_last_address() {
        on_each_engine(async |store| {
            for network in ["192.0.2.1", "198.51.100.128/25", "2001:db8:1:2::/64", "::/64"] {
                store.insert_ban(&network_ban(network, Some(HOUR))).await.expect("banned");
            }
            for (address, network) in [
                ("192.0.2.1", Some("192.0.2.1")),
                ("192.0.2.0", None),
                ("192.0.2.2", None),
                ("198.51.100.127", None),
                ("198.51.100.128", Some("198.51.100.128/25")),
                ("198.51.100.255", Some("198.51.100.128/25")),
                ("198.51.101.0", None),
                ("2001:db8:1:1:ffff:ffff:ffff:ffff", None),
                ("2001:db8:1:2::", Some("2001:db8:1:2::/64")),
                ("2001:db8:1:2:ffff:ffff:ffff:ffff", Some("2001:db8:1:2::/64")),
                ("2001:db8:1:3::", None),
                ("::1", Some("::/64")),
                ("203.0.113.1", None),
            ] {
                assert_eq!(network_banned(&store, address).await.as_deref(), network, "{address}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn of_several_bans_the_longest_is_found() {
        on_each_engine(async |store| {
            let (user, _) = signed_in(&store, NOW).await;
            let of_user = ban(BanTarget::User(user.clone()), NOW, Some(HOUR));
            let bans = [of_user.clone(), network_ban("192.0.2.0/24", Some(2 * HOUR)), network_ban("192.0.2.7", None)];
            for ban in &bans {
                store.insert_ban(ban).await.expect("banned");
            }
            let find = async |user, address: Option<&str>| {
                let address = address.map(|address| address.parse().expect("an address"));
                store.find_ban(user, address, NOW).await.expect("answers")
            };
            assert_eq!(find(None, None).await, None);
            assert_eq!(find(Some(&user), None).await, Some(of_user));
            assert_eq!(find(Some(&user), Some("192.0.2.6")).await, Some(bans[1].clone()));
            assert_eq!(find(Some(&user), Some("192.0.2.7")).await, Some(bans[2].clone()));
        })
        .await;
    }

    #[tokio::test]
    async fn a_ban_ends_on_time_and_a_lifted_one_at_once() {
        on_each_engine(async |store| {
            let ban = network_ban("192.0.2.1", Some(HOUR));
            store.insert_ban(&ban).await.expect("banned");
            let found = async |now| store.find_ban(None, Some("192.0.2.1".parse().expect("an address")), now).await.expect("answers");
            let (last, end) = (NOW.plus(HOUR).minus(Duration::from_millis(1)), NOW.plus(HOUR));
            assert_eq!((found(last).await.as_ref(), found(end).await), (Some(&ban), None));
            assert_eq!(store.lift_ban(&ban.id, end).await.expect("answers"), None, "it is over");
            assert_eq!(store.lift_ban(&ban.id, NOW).await.expect("answers").as_ref(), Some(&ban));
            assert_eq!(found(NOW).await, None);
            assert_eq!(store.lift_ban(&ban.id, NOW).await.expect("answers"), None, "it was lifted before");
        })
        .await;
    }

    #[tokio::test]
    async fn a_users_ban_ends_their_sessions_and_no_others() {
        on_each_engine(async |store| {
            let (ann, anns) = signed_in(&store, NOW).await;
            let (_, bobs) = signed_in(&store, NOW).await;
            store.insert_ban(&ban(BanTarget::User(ann), NOW, None)).await.expect("banned");
            let state = async |id| store.find_session(id, NOW).await.expect("answers").expect("there");
            let (anns, bobs) = (state(&anns).await, state(&bobs).await);
            assert!(anns.revoked && anns.ban.is_some());
            assert!(!bobs.revoked && bobs.ban.is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn the_list_pages_through_what_is_in_force_newest_first() {
        on_each_engine(async |store| {
            let at = |second| NOW.plus(Duration::from_secs(second));
            let target = || BanTarget::Network("192.0.2.1".parse().expect("a network"));
            let bans: Vec<_> = [0, 1, 1, 2].into_iter().map(|second| ban(target(), at(second), Some(HOUR))).collect();
            for ban in &bans {
                store.insert_ban(ban).await.expect("banned");
            }
            store.lift_ban(&bans[3].id, at(3)).await.expect("answers");
            let first = store.list_bans(FIRST_PAGE, 2, at(3)).await.expect("answers");
            let last = first.last().expect("two");
            let second = store.list_bans((last.create_time.millis(), last.id.as_str()), 2, at(3)).await.expect("answers");
            assert_eq!((first.len(), second.as_slice()), (2, &bans[..1]));
            store.delete_expired_bans(at(0).plus(HOUR)).await.expect("deleted");
            assert_eq!(store.list_bans(FIRST_PAGE, 9, NOW).await.expect("answers"), first);
        })
        .await;
    }
}
