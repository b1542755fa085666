//! `countersign.v1.ModerationService`.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::api::{Api, Incoming, answer};
use super::convert::ban;
use super::field_errors::FieldErrors;
use super::parse;
use super::proto::moderation_service_server::ModerationService;
use super::proto::{self, ban_target_request};
use crate::error::Result;
use crate::id::{BanId, UserId};
use crate::model::ban::BanTarget;
use crate::model::ip_address::IpAddress;
use crate::model::network::Network;
use crate::model::request_id::RequestId;
use crate::moderation::{NewBan, Violation};

const BANS: &str = "bans";
const MAX_KIND_LEN: usize = 64;
const MAX_SCORE: u32 = 1000;
const MAX_REASON_LEN: usize = 256;
/// A hundred years, so that its end stays within what a Timestamp on the wire can hold.
const MAX_DURATION: Duration = Duration::from_hours(100 * 365 * 24);

#[tonic::async_trait]
impl ModerationService for Api {
    async fn record_violation(
        &self,
        request: Request<proto::RecordViolationRequest>,
    ) -> Result<Response<proto::RecordViolationResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            let violation = violation(message)?;
            let recorded = moderation.record(caller.name(), &violation, now).await?;
            Ok(proto::RecordViolationResponse {
                score: count(recorded.score),
                previous_score: count(recorded.previous_score),
                ban: recorded.longest_ban().cloned().map(ban),
                bans: recorded.bans.into_iter().map(ban).collect(),
            })
        })
        .await
    }

    async fn check_access(
        &self,
        request: Request<proto::CheckAccessRequest>,
    ) -> Result<Response<proto::CheckAccessResponse>, Status> {
        let Incoming { message, now, .. } = self.begin(request)?;
        answer(async {
            let mut errors = FieldErrors::default();
            let (user, address) = offender(&message.user_id, &message.ip_address, &mut errors);
            errors.build(|| Some(()))?;
            let found = self
                .moderation
                .check_access(user.as_ref(), address, now)
                .await?;
            Ok(proto::CheckAccessResponse {
                allowed: found.is_none(),
                ban: found.map(ban),
            })
        })
        .await
    }

    async fn ban_target(
        &self,
        request: Request<proto::BanTargetRequest>,
    ) -> Result<Response<proto::BanTargetResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            let new = new_ban(message)?;
            let made = moderation.ban(caller.name(), new, now).await?;
            // A repeated request is answered with the ban that the first one set.
            if made.create_time == now {
                tracing::info!(ban = %made.id, caller = %caller.name(), "a caller set a ban");
            }
            Ok(proto::BanTargetResponse {
                ban: Some(ban(made)),
            })
        })
        .await
    }

    async fn lift_ban(
        &self,
        request: Request<proto::LiftBanRequest>,
    ) -> Result<Response<proto::LiftBanResponse>, Status> {
        let Incoming {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            let id = parse::id(&message.ban_id, BanId::parse)
                .map_err(|description| FieldErrors::one("ban_id", description))?;
            let lifted = moderation.lift(&id, now).await?;
            tracing::info!(ban = %lifted.id, caller = %caller.name(), "a caller lifted a ban");
            Ok(proto::LiftBanResponse {
                ban: Some(ban(lifted)),
            })
        })
        .await
    }

    async fn list_bans(
        &self,
        request: Request<proto::ListBansRequest>,
    ) -> Result<Response<proto::ListBansResponse>, Status> {
        let Incoming { message, now, .. } = self.begin(request)?;
        answer(async {
            let page = self
                .pages
                .read(BANS, message.page_size, &message.page_token)?;
            let bans = self.moderation.list(&page, now).await?;
            Ok(proto::ListBansResponse {
                bans: bans.items.into_iter().map(ban).collect(),
                next_page_token: self.pages.write(BANS, bans.next),
            })
        })
        .await
    }
}

fn violation(message: proto::RecordViolationRequest) -> Result<Violation> {
    let mut errors = FieldErrors::default();
    let kind = errors.check("type", check_kind(message.r#type));
    let (user, address) = offender(&message.user_id, &message.ip_address, &mut errors);
    let score = errors.check("score", message.score.map(check_score).transpose());
    let request_id = errors.check("request_id", RequestId::parse(message.request_id));
    errors.build(|| {
        Some(Violation {
            kind: kind?,
            user,
            address,
            score: score?,
            request_id: request_id?,
        })
    })
}

/// Whom a request is about: a user, an address, or both.
fn offender(
    user_id: &str,
    ip_address: &str,
    errors: &mut FieldErrors,
) -> (Option<UserId>, Option<IpAddress>) {
    if user_id.is_empty() && ip_address.is_empty() {
        errors.add("user_id", "user_id or ip_address is required");
    }
    let user = (!user_id.is_empty())
        .then(|| errors.check("user_id", parse::id(user_id, UserId::parse)))
        .flatten();
    let address = (!ip_address.is_empty())
        .then(|| errors.check("ip_address", IpAddress::parse(ip_address)))
        .flatten();
    (user, address)
}

fn check_kind(kind: String) -> Result<String, &'static str> {
    let named = kind
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if named && (1..=MAX_KIND_LEN).contains(&kind.len()) {
        Ok(kind)
    } else {
        Err("1 to 64 of a-z, 0-9 and _ are expected")
    }
}

fn check_score(score: i32) -> Result<u32, &'static str> {
    u32::try_from(score)
        .ok()
        .filter(|score| *score <= MAX_SCORE)
        .ok_or("0 to 1000 is expected")
}

fn new_ban(message: proto::BanTargetRequest) -> Result<NewBan> {
    let mut errors = FieldErrors::default();
    let target = target(message.target, &mut errors);
    let duration = errors.check("duration", ban_duration(message.duration));
    let reason = errors.check("reason", check_reason(message.reason));
    let request_id = errors.check("request_id", RequestId::parse(message.request_id));
    errors.build(|| {
        Some(NewBan {
            target: target?,
            duration: duration?,
            reason: reason?,
            request_id: request_id?,
        })
    })
}

fn target(
    target: Option<ban_target_request::Target>,
    errors: &mut FieldErrors,
) -> Option<BanTarget> {
    use ban_target_request::Target;
    match target {
        Some(Target::UserId(id)) => errors
            .check("user_id", parse::id(&id, UserId::parse))
            .map(BanTarget::User),
        Some(Target::IpAddress(ip)) => errors
            .check("ip_address", IpAddress::parse(&ip))
            .map(|ip| BanTarget::Network(ip.network())),
        Some(Target::Cidr(cidr)) => errors
            .check("cidr", Network::parse_cidr(&cidr))
            .map(BanTarget::Network),
        None => {
            errors.add("target", "user_id, ip_address or cidr is required");
            None
        }
    }
}

fn ban_duration(duration: Option<prost_types::Duration>) -> Result<Option<Duration>, &'static str> {
    // Times are kept in milliseconds, so a shorter ban would end when it begins.
    parse::duration(duration)
        .ok()
        .filter(|duration| {
            duration.is_none_or(|duration| duration.as_millis() > 0 && duration <= MAX_DURATION)
        })
        .ok_or("more than nothing and at most 100 years is expected")
}

fn check_reason(reason: String) -> Result<String, &'static str> {
    if reason.len() <= MAX_REASON_LEN && !reason.chars().any(char::is_control) {
        Ok(reason)
    } else {
        Err("at most 256 bytes without control characters are expected")
    }
}

fn count(score: i64) -> i32 {
    i32::try_from(score).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use proto::RecordViolationRequest as Report;

    fn fields<T>(result: Result<T>) -> Vec<String> {
        match result {
            Err(Error::Invalid(fields)) => fields.into_iter().map(|field| field.field).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn a_report_names_all_that_is_wrong_in_it() {
        let report = Report {
            r#type: "Logins!".to_owned(),
            user_id: "ann".to_owned(),
            ip_address: "unknown".to_owned(),
            score: Some(1001),
            request_id: "x".repeat(129),
        };
        assert_eq!(
            fields(violation(report)),
            ["type", "user_id", "ip_address", "score", "request_id"]
        );
        assert_eq!(fields(violation(Report::default())), ["type", "user_id"]);
    }

    #[test]
    fn bounds_are_part_of_what_is_allowed() {
        let good = Report {
            r#type: "k".repeat(64),
            ip_address: "192.0.2.1".to_owned(),
            score: Some(1000),
            ..Report::default()
        };
        assert_eq!(violation(good.clone()).expect("good").score, Some(1000));
        let score = |score| Report {
            score: Some(score),
            ..good.clone()
        };
        assert_eq!(violation(score(0)).expect("good").score, Some(0));
        assert_eq!(fields(violation(score(-1))), ["score"]);
        let kind = Report {
            r#type: "k".repeat(65),
            ..good.clone()
        };
        assert_eq!(fields(violation(kind)), ["type"]);
        let request_id = Report {
            request_id: "two words".to_owned(),
            ..good
        };
        assert_eq!(fields(violation(request_id)), ["request_id"]);
    }

    #[test]
    fn a_bad_ban_names_all_that_is_wrong() {
        let bad = proto::BanTargetRequest {
            target: None,
            duration: Some(prost_types::Duration::default()),
            reason: "line\nbreak".to_owned(),
            request_id: "two words".to_owned(),
        };
        assert_eq!(
            fields(new_ban(bad)),
            ["target", "duration", "reason", "request_id"]
        );
    }

    #[test]
    fn an_address_stands_for_its_network() {
        use ban_target_request::Target;
        for (given, shown) in [
            (Target::IpAddress("192.0.2.1:80".to_owned()), "192.0.2.1"),
            (Target::IpAddress("2001:db8::1".to_owned()), "2001:db8::/64"),
            (
                Target::Cidr("198.51.100.0/24".to_owned()),
                "198.51.100.0/24",
            ),
        ] {
            let target = target(Some(given), &mut FieldErrors::default());
            let network = shown.parse().expect("a network");
            assert_eq!(target, Some(BanTarget::Network(network)));
        }
    }
}
