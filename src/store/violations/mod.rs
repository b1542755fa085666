//! Violations, the scores that they add up to, and the bans that scores lead to.

use sqlx::{query, query_as, query_scalar};

use super::Store;
use super::backend::{Tx, in_tx, statements, transaction};
use super::error::StoreError;
use super::record::record;
use super::{bans, sessions};
use crate::clock::Timestamp;
use crate::id::{UserId, ViolationId};
use crate::metrics::{Cause, Ended, Lane};
use crate::model::ban::{Ban, BanTarget};
use crate::model::violation::{NewViolation, Penalty, Recorded};

statements! {
    /// The transaction that inserts a request id answers it; concurrent ones wait until it ends and
    /// then read its answer.
    CLAIM = "INSERT INTO violations (id, caller, request_id, type, user_id, ip_address, added, previous_score, score, create_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8) ON CONFLICT (caller, request_id) DO NOTHING";
    ANSWER = "UPDATE violations SET previous_score = $2, score = $3 WHERE id = $1";
    FIND_ANSWER = "SELECT id, previous_score, score FROM violations WHERE caller = $1 AND request_id = $2
        AND type = $3 AND user_id IS NOT DISTINCT FROM $4 AND ip_address IS NOT DISTINCT FROM $5 AND added = COALESCE($6, added)";
    ADD = "INSERT INTO scores (type, target_kind, target, score, expire_time) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (type, target_kind, target) DO UPDATE SET
            score = CASE WHEN scores.expire_time <= $6 THEN $4 ELSE scores.score + $4 END, expire_time = $5
        RETURNING score";
}

/// The stored answer to a request id.
struct Answer {
    id: String,
    previous_score: i64,
    score: i64,
}

record!(Answer, "violations", key id, { id, previous_score, score });

/// What a new violation did.
struct Done {
    recorded: Recorded,
    /// How many sessions it ended.
    ended: u64,
}

impl Store {
    /// Records a violation, and carries out what `penalty` returns for each target and its scores
    /// before and after. A repeated request id adds nothing and gets the first answer; `None` if it was
    /// given to another violation.
    pub async fn record_violation(
        &self,
        violation: &NewViolation<'_>,
        penalty: impl Fn(&BanTarget, (i64, i64)) -> Penalty + Send + Sync,
    ) -> Result<Option<Recorded>, StoreError> {
        let _turn = self.lanes.turn(Lane::Reports).await?;
        let done = transaction!(self, |tx| {
            let id = ViolationId::new(violation.create_time);
            if !claim(&mut tx, &id, violation).await? {
                return Ok(Err(first_answer(&mut tx, violation).await?));
            }
            let done = score(&mut tx, &id, violation, &penalty).await?;
            in_tx!(tx, ANSWER, |db, sql| query(sql)
                .bind(id.as_str())
                .bind(done.recorded.previous_score)
                .bind(done.recorded.score)
                .execute(db)
                .await
                .map(drop))?;
            tx.commit().await?;
            Ok(Ok(done))
        })?;
        let done = match done {
            Ok(done) => done,
            Err(first) => return Ok(first),
        };
        self.count_violation(&done);
        Ok(Some(done.recorded))
    }

    fn count_violation(&self, done: &Done) {
        self.metrics.moderation.violations.inc();
        self.count_ended(Ended::Banned, done.ended);
        for ban in &done.recorded.bans {
            self.count_ban(ban, Cause::Score);
        }
    }
}

/// Inserts the violation; `false` if its request id has an answer already.
async fn claim(
    tx: &mut Tx,
    id: &ViolationId,
    violation: &NewViolation<'_>,
) -> Result<bool, StoreError> {
    let claimed = in_tx!(*tx, CLAIM, |db, sql| query(sql)
        .bind(id.as_str())
        .bind(violation.caller)
        .bind(violation.request_id)
        .bind(violation.kind)
        .bind(violation.user.map(UserId::as_str))
        .bind(violation.address.map(|(ip, _)| ip.to_string()))
        .bind(violation.added)
        .bind(violation.create_time.millis())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(claimed == 1)
}

/// Adds the violation to the score of each target and carries out the penalties.
async fn score(
    tx: &mut Tx,
    id: &ViolationId,
    violation: &NewViolation<'_>,
    penalty: &(impl Fn(&BanTarget, (i64, i64)) -> Penalty + Sync),
) -> Result<Done, StoreError> {
    let (mut scores, mut bans) = (None, Vec::new());
    let mut ended = 0;
    for target in violation.targets() {
        let score = add_score(tx, violation, &target).await?;
        let previous = score - violation.added;
        scores.get_or_insert((previous, score));
        let penalty = penalty(&target, (previous, score));
        let (ban, sessions) = punish(tx, id, target, penalty, violation.create_time).await?;
        bans.extend(ban);
        ended += sessions;
    }
    let (previous_score, score) = scores.unwrap_or_default();
    let recorded = Recorded {
        score,
        previous_score,
        bans,
    };
    Ok(Done { recorded, ended })
}

/// The answer to the same violation with the same request id; `None` if the violation is another.
async fn first_answer(
    tx: &mut Tx,
    violation: &NewViolation<'_>,
) -> Result<Option<Recorded>, StoreError> {
    let row = in_tx!(*tx, FIND_ANSWER, |db, sql| query_as::<_, Answer>(sql)
        .bind(violation.caller)
        .bind(violation.request_id)
        .bind(violation.kind)
        .bind(violation.user.map(UserId::as_str))
        .bind(violation.address.map(|(ip, _)| ip.to_string()))
        .bind(violation.score_given.then_some(violation.added))
        .fetch_optional(db)
        .await)?;
    let Some(row) = row else { return Ok(None) };
    let bans = bans::of_violation(tx, &row.id).await?;
    Ok(Some(Recorded {
        score: row.score,
        previous_score: row.previous_score,
        bans,
    }))
}

/// Adds the violation to the target's score, and returns the new score.
async fn add_score(
    tx: &mut Tx,
    violation: &NewViolation<'_>,
    target: &BanTarget,
) -> Result<i64, StoreError> {
    let (kind, target) = match target {
        BanTarget::User(user) => ("user", user.to_string()),
        BanTarget::Network(network) => ("address", network.to_string()),
    };
    Ok(in_tx!(*tx, ADD, |db, sql| query_scalar(sql)
        .bind(violation.kind)
        .bind(kind)
        .bind(target)
        .bind(violation.added)
        .bind(violation.score_expire_time.map(Timestamp::millis))
        .bind(violation.create_time.millis())
        .fetch_one(db)
        .await)?)
}

/// Carries out a penalty, and returns the ban that it made, if any, and how many sessions it ended.
/// An address has no sessions to end.
async fn punish(
    tx: &mut Tx,
    violation: &ViolationId,
    target: BanTarget,
    penalty: Penalty,
    now: Timestamp,
) -> Result<(Option<Ban>, u64), StoreError> {
    match (penalty, target) {
        (Penalty::Nothing, _) | (Penalty::EndSessions, BanTarget::Network(_)) => Ok((None, 0)),
        (Penalty::EndSessions, BanTarget::User(user)) => {
            let ended = sessions::ending::revoke_all(tx, &user, None, Ended::Banned, now);
            Ok((None, ended.await?))
        }
        (Penalty::Ban(ban), _) => {
            let ended = bans::insert(tx, &ban, Some(violation), None).await?;
            Ok((Some(ban), ended.unwrap_or(0)))
        }
    }
}

#[cfg(test)]
mod tests;
