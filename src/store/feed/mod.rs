//! The change feed: what each commit changed that other processes have to know.

pub(super) mod commit;

use const_format::concatcp;
use sqlx::{query, query_as};

use super::Store;
use super::backend::{reading, statements, writing};
use super::error::StoreError;
use super::record::{Record as _, record};
use crate::clock::Timestamp;
use crate::id::{BanId, SessionId, UserId};
use crate::model::change::{Change, Numbered};
use crate::secret;

const SESSION_REVOKED: &str = "session_revoked";
const USER_NOT_BEFORE: &str = "user_not_before";
const USER_CHANGED: &str = "user_changed";
const BANNED: &str = "banned";
const BAN_LIFTED: &str = "ban_lifted";
const KEY_REVOKED: &str = "key_revoked";
const KEYS_CHANGED: &str = "keys_changed";

/// A change as stored.
#[derive(Default)]
struct ChangeRow {
    number: i64,
    kind: String,
    session_id: Option<String>,
    user_id: Option<String>,
    ban_id: Option<String>,
    not_before: Option<i64>,
    kid: Option<String>,
    create_time: i64,
}

record!(ChangeRow, "changes", key kind, {
    number, kind, session_id, user_id, ban_id, not_before, kid, create_time,
});

statements! {
    HEAD = "SELECT value AS epoch, number FROM change_counter, markers WHERE id = 1 AND name = 'epoch'";
    LIST = concatcp!("SELECT ", ChangeRow::COLUMNS, " FROM changes WHERE number > $1 ORDER BY number LIMIT $2");
    REPLACE_EPOCH = "UPDATE markers SET value = $2 WHERE name = 'epoch' AND value = $1";
}

/// Where the feed ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The store's random name. With another epoch, the numbers are of another feed.
    pub epoch: String,
    /// The number of the last change; zero if there was none.
    pub number: i64,
}

record!(Head, "change_counter", key epoch, { epoch, number });

impl ChangeRow {
    fn new(number: i64, change: &Change, now: Timestamp) -> Self {
        let row = Self {
            number,
            create_time: now.millis(),
            ..Self::default()
        };
        match change {
            Change::SessionRevoked(session) => Self {
                kind: SESSION_REVOKED.to_owned(),
                session_id: Some(session.to_string()),
                ..row
            },
            Change::UserNotBefore {
                user,
                not_before,
                except,
            } => Self {
                kind: USER_NOT_BEFORE.to_owned(),
                session_id: except.as_ref().map(ToString::to_string),
                user_id: Some(user.to_string()),
                not_before: Some(not_before.millis()),
                ..row
            },
            Change::UserChanged(user) => Self {
                kind: USER_CHANGED.to_owned(),
                user_id: Some(user.to_string()),
                ..row
            },
            Change::Banned { ban, user } => row.of_ban(BANNED, ban, user.as_ref()),
            Change::BanLifted { ban, user } => row.of_ban(BAN_LIFTED, ban, user.as_ref()),
            Change::KeyRevoked(kid) => Self {
                kind: KEY_REVOKED.to_owned(),
                kid: Some(kid.clone()),
                ..row
            },
            Change::KeysChanged => Self {
                kind: KEYS_CHANGED.to_owned(),
                ..row
            },
            Change::Unknown => row,
        }
    }

    fn of_ban(self, kind: &str, ban: &BanId, user: Option<&UserId>) -> Self {
        Self {
            kind: kind.to_owned(),
            ban_id: Some(ban.to_string()),
            user_id: user.map(ToString::to_string),
            ..self
        }
    }

    /// The change; fails if it is none that this version knows.
    fn change(&self) -> Result<Change, StoreError> {
        let user = self.id(self.user_id.as_deref(), UserId::parse)?;
        let session = self.id(self.session_id.as_deref(), SessionId::parse)?;
        let ban = self.id(self.ban_id.as_deref(), BanId::parse)?;
        let change = match self.kind.as_str() {
            SESSION_REVOKED => session.map(Change::SessionRevoked),
            USER_NOT_BEFORE => {
                user.zip(self.not_before)
                    .map(|(user, not_before)| Change::UserNotBefore {
                        user,
                        not_before: Timestamp::from_millis(not_before),
                        except: session,
                    })
            }
            USER_CHANGED => user.map(Change::UserChanged),
            BANNED => ban.map(|ban| Change::Banned { ban, user }),
            BAN_LIFTED => ban.map(|ban| Change::BanLifted { ban, user }),
            KEY_REVOKED => self.kid.clone().map(Change::KeyRevoked),
            KEYS_CHANGED => Some(Change::KeysChanged),
            _ => None,
        };
        change.ok_or_else(|| self.corrupt())
    }

    /// The id that a column holds, if it holds one.
    fn id<T>(
        &self,
        text: Option<&str>,
        parse: fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let parse = |text| parse(text).ok_or_else(|| self.corrupt());
        text.map(parse).transpose()
    }

    fn corrupt(&self) -> StoreError {
        StoreError::corrupt("changes", "kind", self.number)
    }
}

impl Store {
    /// Where the feed ends now.
    pub async fn feed_head(&self) -> Result<Head, StoreError> {
        reading!(self, HEAD, |db, sql| query_as::<_, Head>(sql)
            .fetch_one(db)
            .await)
    }

    /// At most `limit` changes that come after the one with this number, in their order.
    pub async fn list_changes(&self, after: i64, limit: i64) -> Result<Vec<Numbered>, StoreError> {
        let rows = reading!(self, LIST, |db, sql| query_as::<_, ChangeRow>(sql)
            .bind(after)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        let numbered = |row: ChangeRow| Numbered {
            number: row.number,
            change: row.change().unwrap_or(Change::Unknown),
        };
        Ok(rows.into_iter().map(numbered).collect())
    }

    /// Gives the store a new epoch, so that every process drops what it remembers.
    pub async fn begin_new_epoch(&self) -> Result<(), StoreError> {
        let head = self.feed_head().await?;
        self.replace_epoch(&head.epoch).await
    }

    /// Gives the store a new epoch in the place of `epoch`, so that every process drops what it
    /// remembers; does nothing if the store has another one by now.
    pub async fn replace_epoch(&self, epoch: &str) -> Result<(), StoreError> {
        let new = hex::encode(secret::random::<16>());
        writing!(self, REPLACE_EPOCH, |db, sql| query(sql)
            .bind(epoch)
            .bind(&new)
            .execute(db)
            .await
            .map(drop))
    }
}

#[cfg(test)]
mod tests;
