//! Limits on the attempts from an address.

use super::Moderation;
use super::violation::Violation;
use crate::clock::Timestamp;
use crate::config::moderation as config;
use crate::error::{Error, Result};
use crate::metrics::{Attempt, Decision};
use crate::model::ip_address::IpAddress;

/// The caller's name under which limiters report violations.
const REPORTER: &str = "countersign";

/// A limit on attempts in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// LOGIN_MAX in LOGIN_WINDOW.
    Login,
    /// REGISTER_MAX in REGISTER_WINDOW.
    Register,
}

impl Limiter {
    const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Register => "register",
        }
    }

    /// The violation type of an attempt beyond the limit.
    const fn violation(self) -> &'static str {
        match self {
            Self::Login => "logins",
            Self::Register => "registrations",
        }
    }

    const fn counted(self) -> Attempt {
        match self {
            Self::Login => Attempt::Login,
            Self::Register => Attempt::Register,
        }
    }

    const fn rule(self, config: &config::Moderation) -> config::Limit {
        match self {
            Self::Login => config.login,
            Self::Register => config.register,
        }
    }
}

impl Moderation {
    /// Counts an attempt, whether or not it succeeds later. An attempt beyond the limit is recorded
    /// as a violation by the address, never by the account.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`], [`Error::StoreUnavailable`].
    pub async fn limit(&self, limiter: Limiter, address: IpAddress, now: Timestamp) -> Result<()> {
        let rule = limiter.rule(&self.config);
        let attempt = self
            .store
            .count_attempt(
                limiter.name(),
                &address.network().to_string(),
                rule.window,
                now,
            )
            .await?;
        let counted = |decision| self.metrics.attempts.of((limiter.counted(), decision));
        if attempt.count <= rule.max.into() {
            counted(Decision::Allowed).inc();
            return Ok(());
        }
        counted(Decision::Refused).inc();
        let violation = Violation {
            kind: limiter.violation().to_owned(),
            user: None,
            address: Some(address),
            score: None,
            request_id: None,
        };
        self.record(REPORTER, &violation, now).await?;
        Err(Error::LimitExceeded {
            retry_after: now.until(attempt.reset_time),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::moderation::testing::{config, metrics};
    use crate::store::testing::on_each_engine;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn address(text: &str) -> IpAddress {
        IpAddress::parse(text).expect("an address")
    }

    fn retry_after(result: Result<()>) -> Option<Duration> {
        match result {
            Err(Error::LimitExceeded { retry_after }) => Some(retry_after),
            other => other.map(|()| None).expect("counted"),
        }
    }

    #[tokio::test]
    async fn the_eighth_login_and_the_sixth_registration_are_refused_until_the_window_ends() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store, config(), metrics());
            for (limiter, max, window) in [
                (Limiter::Login, 7, Duration::from_mins(5)),
                (Limiter::Register, 5, Duration::from_hours(1)),
            ] {
                let attempt = async |now| {
                    retry_after(moderation.limit(limiter, address("192.0.2.1"), now).await)
                };
                for _ in 0..max {
                    assert_eq!(attempt(NOW).await, None);
                }
                assert_eq!(
                    attempt(NOW.plus(Duration::from_secs(1))).await,
                    Some(window.checked_sub(Duration::from_secs(1)).expect("longer"))
                );
                assert_eq!(attempt(NOW.plus(window)).await, None);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn all_addresses_of_a_64_share_a_limit_and_in_the_end_a_ban() {
        on_each_engine(async |store| {
            let moderation = Moderation::new(store, config(), metrics());
            for host in 1..=27 {
                assert!(
                    moderation
                        .check_access(None, Some(address("2001:db8::1")), NOW)
                        .await
                        .expect("answers")
                        .is_none()
                );
                let result = moderation
                    .limit(Limiter::Login, address(&format!("2001:db8::{host:x}")), NOW)
                    .await;
                assert_eq!(retry_after(result).is_some(), host > 7);
            }
            let banned = moderation
                .check_access(None, Some(address("2001:db8::ffff")), NOW)
                .await
                .expect("answers");
            assert_eq!(banned.map(|ban| ban.reason).as_deref(), Some("logins"));
            assert_eq!(
                retry_after(
                    moderation
                        .limit(Limiter::Login, address("2001:db8:0:1::1"), NOW)
                        .await
                ),
                None
            );
        })
        .await;
    }
}
