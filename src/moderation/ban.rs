//! Bans: who is refused now, and administrators' bans.

use std::time::Duration;

use super::violation::read_user_id;
use super::{Address, Ban, BanTarget, Moderation, parse_cidr};
use crate::clock::Timestamp;
use crate::error::{Error, Result, Violations};
use crate::id::{BanId, UserId};

const MAX_REASON_LEN: usize = 256;
/// A hundred years: beyond it a ban has no end, and times stay within what the wire can say.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

/// Whom a request wants to ban.
#[derive(Clone, Copy, Debug)]
pub enum TargetText<'a> {
    UserId(&'a str),
    /// One address; an IPv6 address stands for its /64.
    IpAddress(&'a str),
    Cidr(&'a str),
}

impl Moderation {
    /// The ban in force that lasts longest, of the user or of the address.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn check_access(
        &self,
        user: Option<&UserId>,
        address: Option<Address>,
        now: Timestamp,
    ) -> Result<Option<Ban>> {
        if user.is_none() && address.is_none() {
            return Ok(None);
        }
        Ok(self
            .store
            .find_ban(user, address.map(Address::ip), now)
            .await?)
    }

    /// Refuses a banned user or address.
    ///
    /// # Errors
    /// [`Error::Banned`], [`Error::StoreUnavailable`].
    pub async fn refuse_banned(
        &self,
        user: Option<&UserId>,
        address: Option<Address>,
        now: Timestamp,
    ) -> Result<()> {
        match self.check_access(user, address, now).await? {
            Some(ban) => Err(Error::Banned {
                until: ban.expire_time,
            }),
            None => Ok(()),
        }
    }

    /// Bans for `duration`, or until lifted. A user's ban ends their sessions and forgets their provider tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] with everything that is wrong, [`Error::StoreUnavailable`].
    pub async fn ban(
        &self,
        target: Option<TargetText<'_>>,
        duration: Option<Duration>,
        reason: &str,
        now: Timestamp,
    ) -> Result<Ban> {
        let mut violations = Violations::default();
        let target = read_target(target, &mut violations);
        violations.check("duration", check_duration(duration));
        violations.check("reason", check_reason(reason));
        violations.finish()?;
        let target =
            target.ok_or_else(|| Error::internal("a target was neither read nor refused"))?;
        let expire_time = duration.map(|duration| now.plus(duration));
        let ban = Ban {
            id: BanId::new(now),
            target,
            reason: reason.to_owned(),
            create_time: now,
            expire_time,
        };
        self.store.insert_ban(&ban).await?;
        Ok(ban)
    }

    /// Lifts a ban at once and gives it as it was.
    ///
    /// # Errors
    /// [`Error::BanNotFound`], [`Error::StoreUnavailable`].
    pub async fn lift(&self, id: &BanId, now: Timestamp) -> Result<Ban> {
        self.store
            .lift_ban(id, now)
            .await?
            .ok_or(Error::BanNotFound)
    }

    /// Bans in force made before (`create_time`, `id`), newest first.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`].
    pub async fn list(&self, before: (i64, &str), limit: i64, now: Timestamp) -> Result<Vec<Ban>> {
        Ok(self.store.list_bans(before, limit, now).await?)
    }
}

fn read_target(target: Option<TargetText<'_>>, violations: &mut Violations) -> Option<BanTarget> {
    match target {
        Some(TargetText::UserId(id)) => violations
            .check("user_id", read_user_id(id))
            .map(BanTarget::User),
        Some(TargetText::IpAddress(ip)) => violations
            .check("ip_address", Address::parse(ip))
            .map(|ip| BanTarget::Network(ip.network())),
        Some(TargetText::Cidr(cidr)) => violations
            .check("cidr", parse_cidr(cidr))
            .map(BanTarget::Network),
        None => {
            violations.add("target", "user_id, ip_address or cidr is required");
            None
        }
    }
}

fn check_duration(duration: Option<Duration>) -> Result<(), &'static str> {
    match duration {
        // Less than a millisecond would be over before it began.
        Some(duration) if duration.as_millis() == 0 || duration > MAX_DURATION => {
            Err("more than nothing and at most 100 years is expected")
        }
        _ => Ok(()),
    }
}

fn check_reason(reason: &str) -> Result<(), &'static str> {
    let shaped = reason.len() <= MAX_REASON_LEN && !reason.chars().any(char::is_control);
    if shaped {
        Ok(())
    } else {
        Err("at most 256 bytes without control characters are expected")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::moderation as config;
    use crate::moderation::Violation;
    use crate::moderation::violation::tests::config;
    use crate::store::testing::{on_each_engine, signed_in};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn address(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    #[tokio::test]
    async fn a_ban_refuses_until_it_ends_or_is_lifted() {
        on_each_engine(async |store| {
            let (user, _) = signed_in(&store, NOW).await;
            let moderation = Moderation::new(store, config());
            let target = Some(TargetText::UserId(user.as_str()));
            let ban = moderation.ban(target, Some(Duration::from_hours(2)), "spam", NOW).await.expect("banned");
            let refused = moderation.refuse_banned(Some(&user), Some(address("192.0.2.1")), NOW).await;
            assert!(matches!(refused, Err(Error::Banned { until: Some(until) }) if until == NOW.plus(Duration::from_hours(2))));
            assert_eq!(moderation.list((i64::MAX, ""), 50, NOW).await.expect("answers").as_slice(), std::slice::from_ref(&ban));
            assert_eq!(moderation.lift(&ban.id, NOW).await.expect("lifted"), ban);
            moderation.refuse_banned(Some(&user), None, NOW).await.expect("free");
            assert!(matches!(moderation.lift(&ban.id, NOW).await, Err(Error::BanNotFound)));
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_ban_refuses_is_shown_as_it_is() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store, config());
            for (target, shown) in [
                (TargetText::IpAddress("192.0.2.1:80"), "192.0.2.1"),
                (TargetText::IpAddress("2001:db8::1"), "2001:db8::/64"),
                (TargetText::Cidr("198.51.100.0/24"), "198.51.100.0/24"),
            ] {
                let ban = moderation
                    .ban(Some(target), None, "", NOW)
                    .await
                    .expect("banned");
                assert_eq!(
                    ban.target,
                    BanTarget::Network(shown.parse().expect("a network"))
                );
            }
            let refused = moderation
                .refuse_banned(None, Some(address("2001:db8::2")), NOW)
                .await;
            assert!(matches!(refused, Err(Error::Banned { until: None })));
        })
        .await;
    }

    #[tokio::test]
    async fn a_bad_order_names_all_that_is_wrong_and_bans_nobody() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store, config());
            let refused = moderation
                .ban(None, Some(Duration::ZERO), "line\nbreak", NOW)
                .await;
            let Err(Error::Invalid(violations)) = refused else {
                panic!("{refused:?}")
            };
            let fields: Vec<_> = violations
                .iter()
                .map(|violation| violation.field.as_str())
                .collect();
            assert_eq!(fields, ["target", "duration", "reason"]);
            assert_eq!(
                moderation
                    .list((i64::MAX, ""), 50, NOW)
                    .await
                    .expect("answers"),
                []
            );
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
                .ban(Some(TargetText::IpAddress("192.0.2.1")), None, "", NOW)
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
            let moderation = Moderation::new(store.clone(), config());
            let day = Duration::from_hours(24);
            let ban = moderation
                .ban(Some(TargetText::IpAddress("192.0.2.1")), Some(day), "", NOW)
                .await
                .expect("banned");
            let then = |days: u32| NOW.plus(day * days);
            moderation.delete_expired(then(30)).await.expect("deleted");
            assert_eq!(
                store
                    .find_ban(None, Some(address("192.0.2.1").ip()), NOW)
                    .await
                    .expect("answers"),
                Some(ban)
            );
            moderation.delete_expired(then(31)).await.expect("deleted");
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
