//! Sessions: one row each, whose generation says which refresh token is current.

pub(super) mod ending;
pub(super) mod opening;

use std::net::IpAddr;

use sqlx::{query, query_as};

use super::backend::{along, reading, row, statements};
use super::users::User;
use super::{Store, StoreError, time};
use crate::clock::Timestamp;
use crate::id::{SessionId, UserId};

statements! {
    /// The session with its user and the user's longest ban in force.
    FIND = "SELECT s.id, s.user_id, s.caller, s.provider, s.amr, s.salt, s.generation, s.ip_address, s.user_agent, s.device_name,
            s.auth_time, s.create_time, s.refresh_time, s.expire_time, s.revoke_time,
            u.email, u.email_verified, u.name, u.username, u.role, u.provider AS user_provider, u.avatar_url,
            u.create_time AS user_create_time, u.update_time AS user_update_time,
            (SELECT MAX(COALESCE(b.expire_time, 9223372036854775807)) FROM bans b
                WHERE b.user_id = s.user_id AND b.lift_time IS NULL AND (b.expire_time IS NULL OR b.expire_time > $2)) AS ban_until
        FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1";
    FIND_BY_REQUEST = "SELECT id FROM sessions WHERE caller = $1 AND request_id = $2";
    /// The live session of a user whose tokens were renewed last.
    /// A session without provider tokens comes after those that have some.
    FIND_LATEST = "SELECT id FROM sessions WHERE user_id = $1 AND revoke_time IS NULL AND expire_time > $2
        ORDER BY COALESCE((SELECT MAX(t.update_time) FROM federated_tokens t WHERE t.session_id = sessions.id), 0) DESC, refresh_time DESC, id LIMIT 1";
    ROTATE = "UPDATE sessions SET generation = generation + 1, refresh_time = $3, ip_address = $4, user_agent = $5, device_name = $6
        WHERE id = $1 AND generation = $2 AND revoke_time IS NULL AND expire_time > $3";
    LIST = "SELECT id, user_id, caller, provider, ip_address, user_agent, device_name, create_time, refresh_time, expire_time FROM sessions
        WHERE user_id = $1 AND revoke_time IS NULL AND expire_time > $2 AND (create_time < $3 OR (create_time = $3 AND id < $4))
        ORDER BY create_time DESC, id DESC LIMIT $5";
}

/// The end user's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    pub ip_address: Option<IpAddr>,
    pub user_agent: String,
    pub device_name: String,
}

/// A session to be opened.
#[derive(Debug)]
pub struct NewSession {
    pub id: SessionId,
    pub user_id: UserId,
    pub caller: String,
    /// `local`, `caller` or a provider's id.
    pub provider: String,
    /// RFC 8176 names.
    pub amr: String,
    pub salt: [u8; 16],
    pub client: Client,
    pub request_id: Option<String>,
    pub auth_time: Timestamp,
    pub create_time: Timestamp,
    pub expire_time: Timestamp,
}

/// A session with its user and whether the user is banned.
#[derive(Clone, Debug)]
pub struct SessionState {
    pub id: SessionId,
    pub user: User,
    pub caller: String,
    pub provider: String,
    pub amr: String,
    pub salt: Vec<u8>,
    pub generation: i64,
    pub client: Client,
    pub auth_time: Timestamp,
    pub create_time: Timestamp,
    pub refresh_time: Timestamp,
    pub expire_time: Timestamp,
    pub revoked: bool,
    pub ban: Option<UserBan>,
}

/// A user's longest ban in force when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserBan {
    /// `None` for a ban until lifted.
    pub until: Option<Timestamp>,
}

impl UserBan {
    fn read(until: i64) -> Self {
        Self {
            until: (until != i64::MAX).then(|| time(until)),
        }
    }

    /// Whether it is still in force.
    #[must_use]
    pub fn in_force(self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What became of a session to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Opened,
    /// Its request id has opened one before.
    Repeated,
    /// Its user is banned.
    Banned(UserBan),
}

/// A session as listed.
#[derive(Clone, Debug)]
pub struct SessionSummary {
    pub id: SessionId,
    pub user_id: String,
    pub caller: String,
    pub provider: String,
    pub ip_address: String,
    pub user_agent: String,
    pub device_name: String,
    pub create_time: Timestamp,
    pub refresh_time: Timestamp,
    pub expire_time: Timestamp,
}

row! {
    struct StateRow {
        id: String,
        user_id: String,
        caller: String,
        provider: String,
        amr: String,
        salt: Vec<u8>,
        generation: i64,
        ip_address: String,
        user_agent: String,
        device_name: String,
        auth_time: i64,
        create_time: i64,
        refresh_time: i64,
        expire_time: i64,
        revoke_time: Option<i64>,
        email: Option<String>,
        email_verified: bool,
        name: String,
        username: String,
        role: String,
        user_provider: String,
        avatar_url: String,
        user_create_time: i64,
        user_update_time: i64,
        ban_until: Option<i64>,
    }
}

row! {
    struct SummaryRow {
        id: String,
        user_id: String,
        caller: String,
        provider: String,
        ip_address: String,
        user_agent: String,
        device_name: String,
        create_time: i64,
        refresh_time: i64,
        expire_time: i64,
    }
}

row! {
    struct IdRow {
        id: String,
    }
}

impl TryFrom<StateRow> for SessionState {
    type Error = StoreError;

    fn try_from(row: StateRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: session_id(&row.id)?,
            user: User {
                id: UserId::parse(&row.user_id)
                    .ok_or_else(|| StoreError::corrupt("sessions", "user_id", &row.id))?,
                email: row.email,
                email_verified: row.email_verified,
                name: row.name,
                username: row.username,
                role: row.role,
                provider: row.user_provider,
                avatar_url: row.avatar_url,
                create_time: time(row.user_create_time),
                update_time: time(row.user_update_time),
            },
            caller: row.caller,
            provider: row.provider,
            amr: row.amr,
            salt: row.salt,
            generation: row.generation,
            client: Client {
                ip_address: row.ip_address.parse().ok(),
                user_agent: row.user_agent,
                device_name: row.device_name,
            },
            auth_time: time(row.auth_time),
            create_time: time(row.create_time),
            refresh_time: time(row.refresh_time),
            expire_time: time(row.expire_time),
            revoked: row.revoke_time.is_some(),
            ban: row.ban_until.map(UserBan::read),
        })
    }
}

impl TryFrom<SummaryRow> for SessionSummary {
    type Error = StoreError;

    fn try_from(row: SummaryRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: session_id(&row.id)?,
            user_id: row.user_id,
            caller: row.caller,
            provider: row.provider,
            ip_address: row.ip_address,
            user_agent: row.user_agent,
            device_name: row.device_name,
            create_time: time(row.create_time),
            refresh_time: time(row.refresh_time),
            expire_time: time(row.expire_time),
        })
    }
}

fn session_id(text: &str) -> Result<SessionId, StoreError> {
    SessionId::parse(text).ok_or_else(|| StoreError::corrupt("sessions", "id", text))
}

/// The address as stored: empty where none was given.
fn address(client: &Client) -> String {
    client
        .ip_address
        .map(|ip| ip.to_string())
        .unwrap_or_default()
}

impl Store {
    /// A session with its user, live or not; bans are those in force at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_session(
        &self,
        id: &SessionId,
        now: Timestamp,
    ) -> Result<Option<SessionState>, StoreError> {
        let row = reading!(self, |db| query_as::<_, StateRow>(FIND)
            .bind(id.as_str())
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        row.map(SessionState::try_from).transpose()
    }

    /// The session that a caller's request id opened.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_session_by_request(
        &self,
        caller: &str,
        request_id: &str,
    ) -> Result<Option<SessionId>, StoreError> {
        let row = reading!(self, |db| query_as::<_, IdRow>(FIND_BY_REQUEST)
            .bind(caller)
            .bind(request_id)
            .fetch_optional(db)
            .await)?;
        row.map(|row| session_id(&row.id)).transpose()
    }

    /// The user's live session whose tokens were renewed last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_latest_session(
        &self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<SessionId>, StoreError> {
        let row = reading!(self, |db| query_as::<_, IdRow>(FIND_LATEST)
            .bind(user.as_str())
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        row.map(|row| session_id(&row.id)).transpose()
    }

    /// Reads a session and, where `decide` gives the connection to note, moves it from the generation read to the next.
    ///
    /// With the session comes whether it was moved: not where `decide` gave none, and not where it has moved on or ended since it was read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refresh_session(
        &self,
        id: &SessionId,
        now: Timestamp,
        decide: impl FnOnce(&SessionState) -> Option<Client> + Send,
    ) -> Result<Option<(SessionState, bool)>, StoreError> {
        let mut lane = self.pools.lane().await?;
        let row = along!(lane.read, |db| query_as::<_, StateRow>(FIND)
            .bind(id.as_str())
            .bind(now.millis())
            .fetch_optional(db)
            .await)?;
        let Some(state) = row.map(SessionState::try_from).transpose()? else {
            return Ok(None);
        };
        let Some(client) = decide(&state) else {
            return Ok(Some((state, false)));
        };
        let rotated = along!(lane.write, |db| query(ROTATE)
            .bind(id.as_str())
            .bind(state.generation)
            .bind(now.millis())
            .bind(address(&client))
            .bind(&client.user_agent)
            .bind(&client.device_name)
            .execute(db)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(Some((state, rotated == 1)))
    }

    /// A user's live sessions made before (`create_time`, `id`), newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_sessions(
        &self,
        user: &UserId,
        before: (i64, &str),
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<SessionSummary>, StoreError> {
        let rows = reading!(self, |db| query_as::<_, SummaryRow>(LIST)
            .bind(user.as_str())
            .bind(now.millis())
            .bind(before.0)
            .bind(before.1)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        rows.into_iter().map(SessionSummary::try_from).collect()
    }
}
