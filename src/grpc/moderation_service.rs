//! `countersign.v1.ModerationService`.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::api::{Api, Asked, answer};
use super::convert::ban;
use super::page::parse_id;
use super::proto::moderation_service_server::ModerationService;
use super::proto::{self, ban_target_request};
use crate::error::{Error, Violations};
use crate::id::BanId;
use crate::moderation::{Report, TargetText, Violation, read_offender};

const BANS: &str = "bans";

#[tonic::async_trait]
impl ModerationService for Api {
    async fn record_violation(
        &self,
        request: Request<proto::RecordViolationRequest>,
    ) -> Result<Response<proto::RecordViolationResponse>, Status> {
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            let violation = Violation::read(&Report {
                kind: &message.r#type,
                user_id: &message.user_id,
                ip_address: &message.ip_address,
                score: message.score,
                request_id: &message.request_id,
            })?;
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
        let Asked { message, now, .. } = self.begin(request)?;
        answer(async {
            let mut violations = Violations::default();
            let (user, address) =
                read_offender(&message.user_id, &message.ip_address, &mut violations);
            violations.finish()?;
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
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            // A negative one is named with all that is wrong: as nothing, which no ban may last.
            let duration = message
                .duration
                .map(|duration| Duration::try_from(duration).unwrap_or_default());
            let target = message.target.as_ref().map(target);
            let made = moderation
                .ban(target, duration, &message.reason, now)
                .await?;
            tracing::info!(ban = %made.id, caller = %caller.name(), "a caller set a ban");
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
        let Asked {
            caller,
            message,
            now,
        } = self.begin(request)?;
        let moderation = self.moderation.clone();
        self.run_to_end(async move {
            let id = parse_id(&message.ban_id, BanId::parse)
                .map_err(|description| Error::invalid("ban_id", description))?;
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
        let Asked { message, now, .. } = self.begin(request)?;
        answer(async {
            let page = self
                .pages
                .read(BANS, message.page_size, &message.page_token)?;
            let limit = i64::try_from(page.size)
                .unwrap_or(i64::MAX)
                .saturating_add(1);
            let mut bans = self.moderation.list(page.descending(), limit, now).await?;
            let more = bans.len() > page.size;
            bans.truncate(page.size);
            let next = bans.last().filter(|_| more).map(|last| {
                self.pages
                    .write(BANS, last.create_time.millis(), last.id.as_str())
            });
            Ok(proto::ListBansResponse {
                bans: bans.into_iter().map(ban).collect(),
                next_page_token: next.unwrap_or_default(),
            })
        })
        .await
    }
}

fn target(target: &ban_target_request::Target) -> TargetText<'_> {
    match target {
        ban_target_request::Target::UserId(id) => TargetText::UserId(id),
        ban_target_request::Target::IpAddress(address) => TargetText::IpAddress(address),
        ban_target_request::Target::Cidr(cidr) => TargetText::Cidr(cidr),
    }
}

fn count(score: i64) -> i32 {
    i32::try_from(score).unwrap_or(i32::MAX)
}
