//! Violations, a ban, and its end.

use countersign::grpc::proto::{
    Ban, CheckAccessRequest, InactiveReason, LiftBanRequest, LoginRequest, RecordViolationRequest,
    RecordViolationResponse,
};

use crate::World;
use crate::local::{EMAIL, PASSWORD, client, inactive};
use crate::story::{Outcome, call, ensure, got, present, refused, step};

/// Three violations of this score cross the default interval of 20.
const SCORE: i32 = 7;

impl World {
    pub async fn ban(&self, user_id: &str) -> Outcome {
        let tokens = self.login().await?;
        step("Ann sends far too much; violations add up until she is banned");
        let ban = self.offend(user_id).await?;

        step("The ban holds everywhere at once");
        let answer = self.look(&tokens.access_token).await?;
        inactive(&answer, InactiveReason::Banned)?;
        call("AuthService.Login", EMAIL);
        let request = LoginRequest {
            email: EMAIL.into(),
            password: PASSWORD.into(),
            client: Some(client()),
        };
        refused(self.auth.clone().login(request).await, "BANNED")?;
        ensure(!self.allowed(user_id).await?, "Ann is refused")?;

        step("An administrator lifts it, and Ann is let in again");
        call("ModerationService.LiftBan", &ban.id);
        self.moderation
            .clone()
            .lift_ban(LiftBanRequest { ban_id: ban.id })
            .await?;
        got("lifted");
        ensure(self.allowed(user_id).await?, "Ann is let in")?;
        self.login().await.map(drop)
    }

    async fn offend(&self, user_id: &str) -> Outcome<Ban> {
        for count in 1..=3 {
            let answer = self.violate(user_id).await?;
            match answer.ban {
                Some(ban) if count == 3 => {
                    got(&format!(
                        "ban {}, for {}, until {}",
                        ban.id,
                        ban.reason,
                        present(ban.expire_time, "end")?
                    ));
                    return Ok(ban);
                }
                Some(_) => return Err("the ban came too early".into()),
                None => {}
            }
        }
        Err("three violations should ban".into())
    }

    async fn violate(&self, user_id: &str) -> Outcome<RecordViolationResponse> {
        call(
            "ModerationService.RecordViolation",
            &format!("message_limit, score {SCORE}"),
        );
        let (kind, user_id, score) = ("message_limit".into(), user_id.into(), Some(SCORE));
        let request = RecordViolationRequest {
            r#type: kind,
            user_id,
            score,
            ..RecordViolationRequest::default()
        };
        let answer = self
            .moderation
            .clone()
            .record_violation(request)
            .await?
            .into_inner();
        got(&format!(
            "score {} -> {}",
            answer.previous_score, answer.score
        ));
        Ok(answer)
    }

    async fn allowed(&self, user_id: &str) -> Outcome<bool> {
        call("ModerationService.CheckAccess", user_id);
        let request = CheckAccessRequest {
            user_id: user_id.into(),
            ..CheckAccessRequest::default()
        };
        let answer = self
            .moderation
            .clone()
            .check_access(request)
            .await?
            .into_inner();
        got(&format!("allowed: {}", answer.allowed));
        Ok(answer.allowed)
    }
}
