//! Sessions: one row each, whose generation says which refresh token is current.

pub(super) mod ending;
pub(super) mod idle;
pub(super) mod lock;
pub(super) mod opening;

use const_format::concatcp;
use sqlx::postgres::PgRow;
use sqlx::query::QueryAs;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, query, query_as, query_scalar};

use super::Store;
use super::backend::{on_conn, reading, statements};
use super::error::StoreError;
use super::record::{JoinedRecord as _, ReadJoined as _, Record as _, record};
use crate::clock::{Clock, Timestamp};
use crate::id::{SessionId, UserId};
use crate::model::account::User;
use crate::model::page::{Page, PageRequest};
use crate::model::session::{LiveAt, Refresh, Refreshed, Session, SessionState, UserBan};

record!(Session, "sessions", key id, as "s" "session_", {
    id, user_id, caller, provider, amr, acr, salt, generation, ip_address, user_agent, device_name, request_id,
    auth_time, create_time, refresh_time, expire_time, revoke_time, last_seen_time,
});

/// How many sessions one statement reads.
const BATCH: usize = 100;
/// The parameters for the ids of a batch.
const IDS: &str = "$2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
    $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, \
    $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, \
    $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, \
    $52, $53, $54, $55, $56, $57, $58, $59, $60, $61, \
    $62, $63, $64, $65, $66, $67, $68, $69, $70, $71, \
    $72, $73, $74, $75, $76, $77, $78, $79, $80, $81, \
    $82, $83, $84, $85, $86, $87, $88, $89, $90, $91, \
    $92, $93, $94, $95, $96, $97, $98, $99, $100, $101";
/// A session that was not ended and has not expired at `$1`. What lists, moves or ends sessions asks for no
/// more: whether they are idle is decided on what the process knows, too.
const NOT_ENDED: &str = "revoke_time IS NULL AND expire_time > $1";
/// A session that is live at `$1`, as far as it is written, if it was used at `$2` or later ([`LiveAt`]).
const LIVE: &str = concatcp!(
    NOT_ENDED,
    " AND (last_seen_time >= $2 OR refresh_time >= $2)"
);
/// A session with its user and the user's longest ban in force at `$1`.
const STATE: &str = concatcp!(
    "SELECT ", Session::JOINED, ", ", User::JOINED, ",
        (SELECT MAX(COALESCE(b.expire_time, 9223372036854775807)) FROM bans b
            WHERE b.user_id = s.user_id AND b.lift_time IS NULL AND (b.expire_time IS NULL OR b.expire_time > $1)) AS ban_until
    FROM sessions s JOIN users u ON u.id = s.user_id"
);

statements! {
    FIND = concatcp!(STATE, " WHERE s.id = $2");
    FIND_ALL = concatcp!(STATE, " WHERE s.id IN (", IDS, ")");
    FIND_BY_REQUEST = "SELECT id FROM sessions WHERE caller = $1 AND request_id = $2";
    /// The live session of a user whose good provider tokens were renewed last. Tokens are good if
    /// they have not expired or can be renewed. Sessions with other tokens come next, and then those
    /// without any.
    FIND_ACTING = concatcp!("SELECT s.id FROM sessions s WHERE s.user_id = $3 AND ", LIVE, "
        ORDER BY COALESCE((SELECT MAX(t.update_time) FROM federated_tokens t WHERE t.session_id = s.id
                AND (t.access_expire_time > $4 OR (t.refresh_token IS NOT NULL AND t.state <> 'RECONNECT_REQUIRED'))), 0) DESC,
            COALESCE((SELECT MAX(t.update_time) FROM federated_tokens t WHERE t.session_id = s.id), 0) DESC, s.refresh_time DESC, s.id LIMIT 1");
    ROTATE = concatcp!("UPDATE sessions SET generation = generation + 1, refresh_time = $1, ip_address = $4, user_agent = $5, device_name = $6
        WHERE id = $2 AND generation = $3 AND ", NOT_ENDED);
    LIST = concatcp!(
        "SELECT ", Session::COLUMNS, " FROM sessions
        WHERE user_id = $2 AND ", NOT_ENDED, " AND (create_time, id) < ($3, $4)
        ORDER BY create_time DESC, id DESC LIMIT $5"
    );
}

/// The ban that ends at `until`. The statements return the greatest number for a ban that lasts
/// until it is lifted.
fn user_ban(until: i64) -> UserBan {
    UserBan {
        until: (until != i64::MAX).then(|| Timestamp::from_millis(until)),
    }
}

macro_rules! read_state {
    ($row:ty) => {
        impl FromRow<'_, $row> for SessionState {
            fn from_row(row: &$row) -> sqlx::Result<Self> {
                Ok(Self {
                    session: Session::read_joined(row)?,
                    user: User::read_joined(row)?,
                    ban: row.try_get::<Option<i64>, _>("ban_until")?.map(user_ban),
                })
            }
        }
    };
}

read_state!(SqliteRow);
read_state!(PgRow);

fn session_id(text: &str) -> Result<SessionId, StoreError> {
    SessionId::parse(text).ok_or_else(|| StoreError::corrupt("sessions", "id", text))
}

impl Store {
    /// A session with its user, live or not; bans are those in force at `now`.
    pub async fn find_session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<SessionState>, StoreError> {
        let state = reading!(self, FIND, |db, sql| query_as::<_, SessionState>(sql)
            .bind(now.millis())
            .bind(id.as_str())
            .fetch_optional(db)
            .await)?;
        Ok(state)
    }

    /// Those of the sessions that there are, as [`Store::find_session`] reads them. A hundred are
    /// read with one statement.
    pub async fn find_sessions(
        &self,
        ids: &[&SessionId],
        now: Timestamp,
    ) -> Result<Vec<SessionState>, StoreError> {
        let mut states = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            // The last one is repeated in the parameters that are left over.
            let ids = (0..BATCH).map(|at| batch[at.min(batch.len() - 1)].as_str());
            let found: Vec<SessionState> = reading!(self, FIND_ALL, |db, sql| ids
                .clone()
                .fold(query_as(sql).bind(now.millis()), QueryAs::bind)
                .fetch_all(db)
                .await)?;
            states.extend(found);
        }
        Ok(states)
    }

    /// The session that was opened under a caller's request id.
    pub async fn find_session_by_request(
        &self,
        caller: &str,
        request_id: &str,
    ) -> Result<Option<SessionId>, StoreError> {
        let id: Option<String> = reading!(self, FIND_BY_REQUEST, |db, sql| query_scalar(sql)
            .bind(caller)
            .bind(request_id)
            .fetch_optional(db)
            .await)?;
        id.map(|id| session_id(&id)).transpose()
    }

    /// The user's live session whose good provider tokens were renewed last; `good_until` is when an
    /// access token that counts as good expires at the earliest.
    pub async fn find_acting_session(
        &self,
        user: &UserId,
        at: LiveAt,
        good_until: Timestamp,
    ) -> Result<Option<SessionId>, StoreError> {
        let id: Option<String> = reading!(self, FIND_ACTING, |db, sql| query_scalar(sql)
            .bind(at.now.millis())
            .bind(at.used_since.millis())
            .bind(user.as_str())
            .bind(good_until.millis())
            .fetch_optional(db)
            .await)?;
        id.map(|id| session_id(&id)).transpose()
    }

    /// Reads a session, and moves it to the next generation if `decide` says so; `None` if there is
    /// no such session. It moves only if it is still live and at the generation that was read, so
    /// one of several concurrent refreshes wins.
    ///
    /// The clock is read right before the rotation is written: the grace of the previous token
    /// begins there, and must not be shorter because the store was slow.
    pub async fn refresh_session<T>(
        &self,
        id: &SessionId,
        clock: &Clock,
        decide: impl FnOnce(&SessionState) -> Refresh<T> + Send,
    ) -> Result<Option<Refreshed<T>>, StoreError> {
        let mut conn = self.pools.conn();
        let state = on_conn!(conn.read, FIND, |db, sql| query_as::<_, SessionState>(sql)
            .bind(clock.now().millis())
            .bind(id.as_str())
            .fetch_optional(db)
            .await)?;
        let Some(state) = state else {
            return Ok(None);
        };
        let device = match decide(&state) {
            Refresh::Rotate(device) => device,
            Refresh::Leave(verdict) => return Ok(Some(Refreshed::Left(state, verdict))),
        };
        let rotated = on_conn!(conn.write, ROTATE, |db, sql| query(sql)
            .bind(clock.now().millis())
            .bind(id.as_str())
            .bind(state.session.generation)
            .bind(&device.ip_address)
            .bind(&device.user_agent)
            .bind(&device.name)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(Some(if rotated == 1 {
            Refreshed::Rotated(state)
        } else {
            Refreshed::Lost
        }))
    }

    /// A user's sessions that were not ended and have not expired, newest first.
    pub async fn list_sessions(
        &self,
        user: &UserId,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<Page<Session>, StoreError> {
        let (time, id) = page.descending();
        let sessions = reading!(self, LIST, |db, sql| query_as::<_, Session>(sql)
            .bind(now.millis())
            .bind(user.as_str())
            .bind(time)
            .bind(id)
            .bind(page.limit())
            .fetch_all(db)
            .await)?;
        Ok(Page::new(sessions, page))
    }
}

#[cfg(test)]
mod tests;
