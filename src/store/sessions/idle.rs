//! When sessions were used last, and the end of those that nobody uses.

use std::time::Duration;

use const_format::concatcp;
use sqlx::{query, query_scalar};

use crate::clock::Timestamp;
use crate::id::SessionId;
use crate::metrics::Ended;
use crate::model::session::LiveAt;
use crate::store::Store;
use crate::store::backend::{in_tx, reading, statements, transaction, writing};
use crate::store::error::StoreError;

/// Of how many sessions one statement writes when they were used.
pub(crate) const BATCH: usize = 50;
/// The sessions of a batch.
const IDS: &str = "$1, $3, $5, $7, $9, $11, $13, $15, $17, $19, $21, $23, $25, $27, $29, $31, $33, $35, $37, $39, \
    $41, $43, $45, $47, $49, $51, $53, $55, $57, $59, $61, $63, $65, $67, $69, $71, $73, $75, $77, \
    $79, $81, $83, $85, $87, $89, $91, $93, $95, $97, $99";
/// When each of them was used.
const TIME: &str = "CASE id WHEN $1 THEN CAST($2 AS BIGINT) WHEN $3 THEN $4 WHEN $5 THEN $6 WHEN $7 THEN $8 \
    WHEN $9 THEN $10 WHEN $11 THEN $12 WHEN $13 THEN $14 WHEN $15 THEN $16 WHEN $17 THEN $18 \
    WHEN $19 THEN $20 WHEN $21 THEN $22 WHEN $23 THEN $24 WHEN $25 THEN $26 WHEN $27 THEN $28 \
    WHEN $29 THEN $30 WHEN $31 THEN $32 WHEN $33 THEN $34 WHEN $35 THEN $36 WHEN $37 THEN $38 \
    WHEN $39 THEN $40 WHEN $41 THEN $42 WHEN $43 THEN $44 WHEN $45 THEN $46 WHEN $47 THEN $48 \
    WHEN $49 THEN $50 WHEN $51 THEN $52 WHEN $53 THEN $54 WHEN $55 THEN $56 WHEN $57 THEN $58 \
    WHEN $59 THEN $60 WHEN $61 THEN $62 WHEN $63 THEN $64 WHEN $65 THEN $66 WHEN $67 THEN $68 \
    WHEN $69 THEN $70 WHEN $71 THEN $72 WHEN $73 THEN $74 WHEN $75 THEN $76 WHEN $77 THEN $78 \
    WHEN $79 THEN $80 WHEN $81 THEN $82 WHEN $83 THEN $84 WHEN $85 THEN $86 WHEN $87 THEN $88 \
    WHEN $89 THEN $90 WHEN $91 THEN $92 WHEN $93 THEN $94 WHEN $95 THEN $96 WHEN $97 THEN $98 \
    WHEN $99 THEN $100 END";
/// How many sessions the cleaner looks at with one statement. It is part of the statement, because
/// PostgreSQL plans for a tenth of the table if it is a parameter.
const SLICE: u32 = 500;

statements! {
    /// No use replaces a later one, and a session that was ended is left alone.
    SEEN = concatcp!("UPDATE sessions SET last_seen_time = ", TIME, " WHERE id IN (", IDS, ") AND revoke_time IS NULL AND last_seen_time < ", TIME);
    /// Up to where a slice of the sessions that expire after $1 goes.
    SLICE_END = concatcp!("SELECT expire_time FROM sessions WHERE expire_time > $1 ORDER BY expire_time LIMIT 1 OFFSET ", SLICE);
    /// Lets the sessions of a slice that were not used since $2 expire when they became idle.
    EXPIRE_IDLE = "UPDATE sessions SET expire_time = $3 + CASE WHEN last_seen_time > refresh_time THEN last_seen_time ELSE refresh_time END
        WHERE expire_time > $1 AND expire_time <= $4 AND revoke_time IS NULL AND last_seen_time < $2 AND refresh_time < $2";
    /// Deletes the provider tokens of a slice whose sessions have expired at $1.
    DELETE_TOKENS = "DELETE FROM federated_tokens WHERE session_expire_time > $2 AND session_expire_time <= $3
        AND EXISTS (SELECT 1 FROM sessions s WHERE s.id = federated_tokens.session_id AND s.expire_time <= $1)";
}

impl Store {
    /// Writes when sessions were used, at most [`BATCH`] of them.
    pub async fn write_last_seen(&self, uses: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        let Some(last) = uses.last() else {
            return Ok(());
        };
        // The last one is repeated in the parameters that are left over.
        let filled = uses.iter().chain(std::iter::repeat(last)).take(BATCH);
        writing!(self, SEEN, |db, sql| filled
            .clone()
            .fold(query(sql), |query, (id, time)| query
                .bind(id.as_str())
                .bind(time.millis()))
            .execute(db)
            .await
            .map(drop))
    }

    /// Lets those sessions expire that are not live at this time because they are idle, deletes their
    /// provider tokens, and returns how many there were. They expire `idle` after their last use.
    pub async fn expire_idle_sessions(
        &self,
        at: LiveAt,
        idle: Duration,
    ) -> Result<u64, StoreError> {
        let (mut from, mut expired) = (at.now.millis(), 0);
        loop {
            let end: Option<i64> = reading!(self, SLICE_END, |db, sql| query_scalar(sql)
                .bind(from)
                .fetch_optional(db)
                .await)?;
            let to = end.unwrap_or(i64::MAX);
            let slice = self.expire_slice(at, idle, (from, to)).await?;
            self.count_ended(Ended::Idle, slice);
            expired += slice;
            if end.is_none() {
                return Ok(expired);
            }
            from = to;
        }
    }

    async fn expire_slice(
        &self,
        at: LiveAt,
        idle: Duration,
        (from, to): (i64, i64),
    ) -> Result<u64, StoreError> {
        let idle = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        transaction!(self, |tx| {
            let expired = in_tx!(tx, EXPIRE_IDLE, |db, sql| query(sql)
                .bind(from)
                .bind(at.used_since.millis())
                .bind(idle)
                .bind(to)
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            if expired > 0 {
                in_tx!(tx, DELETE_TOKENS, |db, sql| query(sql)
                    .bind(at.now.millis())
                    .bind(from)
                    .bind(to)
                    .execute(db)
                    .await
                    .map(drop))?;
            }
            tx.commit().await?;
            Ok(expired)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Ended;
    use crate::store::testing::{on_each_engine, signed_in};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    async fn seen(store: &Store, id: &SessionId) -> Timestamp {
        let found = store.find_session(id, NOW).await.expect("answers");
        found.expect("there").session.last_seen_time
    }

    #[tokio::test]
    async fn one_statement_writes_when_many_sessions_were_used_and_none_moves_back() {
        on_each_engine(async |store| {
            let mut ids = Vec::new();
            for _ in 0..4 {
                ids.push(signed_in(&store, NOW).await.1);
            }
            let ended = store.revoke_session(&ids[3], None, Ended::Logout, NOW);
            assert!(ended.await.expect("ended"));
            let uses = |seconds: [u64; 4]| {
                let times = seconds.map(|seconds| NOW.plus(Duration::from_secs(seconds)));
                ids.iter().cloned().zip(times).collect::<Vec<_>>()
            };
            let before = store.answers();
            let written = store.write_last_seen(&uses([10, 20, 30, 40])).await;
            written.expect("written");
            assert_eq!(store.answers() - before, 1);
            let written = store.write_last_seen(&uses([5, 25, 30, 40])).await;
            written.expect("written");
            for (id, seconds) in ids.iter().zip([10, 25, 30, 0]) {
                let expected = NOW.plus(Duration::from_secs(seconds));
                assert_eq!(seen(&store, id).await, expected, "{seconds}");
            }
            store.write_last_seen(&[]).await.expect("nothing to write");
        })
        .await;
    }

    #[tokio::test]
    async fn idle_sessions_are_found_however_many_others_there_are() {
        on_each_engine(async |store| {
            let mut ids = Vec::new();
            for at in 0..1_100 {
                let at = NOW.plus(Duration::from_secs(at));
                ids.push(signed_in(&store, at).await.1);
            }
            let uses: Vec<_> = ids[..BATCH]
                .iter()
                .map(|id| (id.clone(), NOW.plus(Duration::from_secs(2_000))))
                .collect();
            store.write_last_seen(&uses).await.expect("written");
            let idle = Duration::from_secs(1_000);
            let at = LiveAt::new(NOW.plus(Duration::from_secs(2_001)), Some(idle));
            // Those that were opened in the first 1,001 seconds, but for a batch.
            let expired = store.expire_idle_sessions(at, idle).await;
            assert_eq!(expired.expect("expired"), 1_001 - 50);
            assert_eq!(store.expire_idle_sessions(at, idle).await.expect("none"), 0);
        })
        .await;
    }
}
