//! Bans: who is refused now, and administrators' bans.

use std::time::Duration;

use super::Moderation;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{BanId, UserId};
use crate::metrics::Decision;
use crate::model::ban::{Ban, BanTarget};
use crate::model::ip_address::IpAddress;
use crate::model::page::{Page, PageRequest};
use crate::model::request_id::RequestId;

/// A ban that a caller asks for.
#[derive(Clone, Debug)]
pub struct NewBan {
    pub target: BanTarget,
    /// How long it lasts; `None` until it is lifted.
    pub duration: Option<Duration>,
    pub reason: String,
    pub request_id: Option<RequestId>,
}

impl Moderation {
    /// The longest-lasting ban in force of the user or the address.
    pub async fn check_access(
        &self,
        user: Option<&UserId>,
        address: Option<IpAddress>,
        now: Timestamp,
    ) -> Result<Option<Ban>> {
        if user.is_none() && address.is_none() {
            return Ok(None);
        }
        let found = self.store.find_ban(user, address.map(IpAddress::ip), now);
        Ok(self.counted(found.await?))
    }

    /// Counts a check by what it found.
    fn counted(&self, found: Option<Ban>) -> Option<Ban> {
        let decision = if found.is_none() {
            Decision::Allowed
        } else {
            Decision::Refused
        };
        self.metrics.ban_checks.of(decision).inc();
        found
    }

    /// Refuses a banned address at a sign-in or a registration.
    ///
    /// # Errors
    /// [`Error::Banned`], [`Error::Busy`], [`Error::StoreUnavailable`].
    pub async fn refuse_banned_stranger(&self, address: IpAddress, now: Timestamp) -> Result<()> {
        let found = self.store.find_ban_of_stranger(address.ip(), now);
        refuse(self.counted(found.await?))
    }

    /// Refuses a banned user or address.
    ///
    /// # Errors
    /// [`Error::Banned`], [`Error::StoreUnavailable`].
    pub async fn refuse_banned(
        &self,
        user: Option<&UserId>,
        address: Option<IpAddress>,
        now: Timestamp,
    ) -> Result<()> {
        refuse(self.check_access(user, address, now).await?)
    }

    /// Bans a target. A user's ban ends their sessions and deletes their provider tokens. A repeated
    /// request id makes no other ban and gets the first one.
    ///
    /// # Errors
    /// [`Error::RequestIdUsed`] if the request id made another ban, and the store's errors.
    pub async fn ban(&self, caller: &str, new: NewBan, now: Timestamp) -> Result<Ban> {
        let ban = Ban {
            id: BanId::new(now),
            target: new.target,
            reason: new.reason,
            violation_type: String::new(),
            caller: caller.to_owned(),
            create_time: now,
            expire_time: new.duration.map(|duration| now.plus(duration)),
        };
        let request_id = new.request_id.as_ref().map(RequestId::as_str);
        let made = self.store.insert_ban(&ban, request_id).await?;
        if made.is_like(&ban) {
            Ok(made)
        } else {
            Err(Error::RequestIdUsed)
        }
    }

    /// Lifts a ban and returns it as it was.
    ///
    /// # Errors
    /// [`Error::BanNotFound`], [`Error::StoreUnavailable`].
    pub async fn lift(&self, id: &BanId, now: Timestamp) -> Result<Ban> {
        self.store
            .lift_ban(id, now)
            .await?
            .ok_or(Error::BanNotFound)
    }

    /// Bans in force, newest first.
    pub async fn list(&self, page: &PageRequest, now: Timestamp) -> Result<Page<Ban>> {
        Ok(self.store.list_bans(page, now).await?)
    }
}

fn refuse(found: Option<Ban>) -> Result<()> {
    match found {
        Some(ban) => Err(Error::Banned {
            until: ban.expire_time,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::moderation as config;
    use crate::moderation::Violation;
    use crate::moderation::testing::{config, metrics};
    use crate::store::testing::{on_each_engine, signed_in};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn address(text: &str) -> IpAddress {
        IpAddress::parse(text).expect("an address")
    }

    fn network(text: &str) -> BanTarget {
        BanTarget::Network(text.parse().expect("a network"))
    }

    fn new(target: BanTarget, duration: Option<Duration>) -> NewBan {
        NewBan {
            target,
            duration,
            reason: "spam".to_owned(),
            request_id: None,
        }
    }

    #[tokio::test]
    async fn a_ban_refuses_until_it_ends_or_is_lifted() {
        on_each_engine(async |store| {
            let (user, _) = signed_in(&store, NOW).await;
            let moderation = Moderation::new(store, config(), metrics());
            let target = BanTarget::User(user.clone());
            let ban = moderation.ban("desk", new(target, Some(Duration::from_hours(2))), NOW).await.expect("banned");
            let refused = moderation.refuse_banned(Some(&user), Some(address("192.0.2.1")), NOW).await;
            assert!(matches!(refused, Err(Error::Banned { until: Some(until) }) if until == NOW.plus(Duration::from_hours(2))));
            assert_eq!(moderation.list(&PageRequest::first(50), NOW).await.expect("answers").items.as_slice(), std::slice::from_ref(&ban));
            assert_eq!(moderation.lift(&ban.id, NOW).await.expect("lifted"), ban);
            moderation.refuse_banned(Some(&user), None, NOW).await.expect("free");
            assert!(matches!(moderation.lift(&ban.id, NOW).await, Err(Error::BanNotFound)));
        })
        .await;
    }

    #[tokio::test]
    async fn a_networks_ban_refuses_every_address_in_it() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store, config(), metrics());
            let target = network("2001:db8::/64");
            moderation
                .ban("desk", new(target, None), NOW)
                .await
                .expect("banned");
            let refused = moderation
                .refuse_banned(None, Some(address("2001:db8::2")), NOW)
                .await;
            assert!(matches!(refused, Err(Error::Banned { until: None })));
        })
        .await;
    }

    #[tokio::test]
    async fn without_ban_violations_scores_ban_nobody_and_administrators_still_do() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(
                store,
                config::Moderation {
                    ban_violations: false,
                    ..config()
                },
                metrics(),
            );
            let heavy = Violation {
                kind: "non_browser".to_owned(),
                user: None,
                address: Some(address("192.0.2.1")),
                score: Some(1000),
                request_id: None,
            };
            let recorded = moderation
                .record("chat", &heavy, NOW)
                .await
                .expect("recorded");
            assert_eq!((recorded.score, recorded.bans.len()), (1000, 0));
            moderation
                .refuse_banned(None, heavy.address, NOW)
                .await
                .expect("free");
            moderation
                .ban("desk", new(network("192.0.2.1"), None), NOW)
                .await
                .expect("banned");
            assert!(
                moderation
                    .refuse_banned(None, heavy.address, NOW)
                    .await
                    .is_err()
            );
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_over_is_forgotten_after_thirty_days_and_not_before() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store.clone(), config(), metrics());
            let day = Duration::from_hours(24);
            let ban = moderation
                .ban("desk", new(network("192.0.2.1"), Some(day)), NOW)
                .await
                .expect("banned");
            let then = |days: u32| NOW.plus(day * days);
            let delete_expired = async |now| {
                for (rows, before) in Moderation::expired(now) {
                    store.delete_expired(rows, before).await.expect("deleted");
                }
            };
            delete_expired(then(30)).await;
            assert_eq!(
                store
                    .find_ban(None, Some(address("192.0.2.1").ip()), NOW)
                    .await
                    .expect("answers"),
                Some(ban)
            );
            delete_expired(then(31)).await;
            assert_eq!(
                store
                    .find_ban(None, Some(address("192.0.2.1").ip()), NOW)
                    .await
                    .expect("answers"),
                None
            );
        })
        .await;
    }
}
