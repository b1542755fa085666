//! Recording violations.

use super::{Moderation, score};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::model::ban::BanTarget;
use crate::model::ip_address::IpAddress;
use crate::model::request_id::RequestId;
use crate::model::violation::{NewViolation, Recorded};

/// A violation of a rule by a user, from an address, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its type, in LibreChat's words.
    pub kind: String,
    pub user: Option<UserId>,
    pub address: Option<IpAddress>,
    /// Replaces the type's configured score.
    pub score: Option<u32>,
    pub request_id: Option<RequestId>,
}

impl Moderation {
    /// Records a violation, and bans each target whose score reaches a multiple of the ban
    /// interval. A repeated request id adds nothing and gets the first answer.
    ///
    /// # Errors
    /// [`Error::RequestIdUsed`] if the request id was given to another violation, and the store's
    /// errors.
    pub async fn record(
        &self,
        caller: &str,
        violation: &Violation,
        now: Timestamp,
    ) -> Result<Recorded> {
        let added = violation
            .score
            .unwrap_or_else(|| score::of(&violation.kind, &self.config));
        let new = NewViolation {
            caller,
            request_id: violation.request_id.as_ref().map(RequestId::as_str),
            kind: &violation.kind,
            user: violation.user.as_ref(),
            address: violation
                .address
                .map(|address| (address.ip(), address.network())),
            added: added.into(),
            score_given: violation.score.is_some(),
            create_time: now,
            score_expire_time: self.config.score_ttl.map(|ttl| now.plus(ttl)),
        };
        let penalty =
            |target: &BanTarget, scores| score::penalty(&new, target, scores, &self.config);
        let recorded = self.store.record_violation(&new, penalty).await?;
        let recorded = recorded.ok_or(Error::RequestIdUsed)?;
        // A repeated request is answered with the bans that the first one made.
        for ban in recorded.bans.iter().filter(|ban| ban.create_time == now) {
            tracing::info!(
                ban = %ban.id,
                user = ban.target.user().map(tracing::field::display),
                network = ban.target.network().map(tracing::field::display),
                violation = violation.kind,
                caller,
                "a score caused a ban"
            );
        }
        Ok(recorded)
    }
}
