//! Accounts and their passwords.

use sqlx::{FromRow as _, Row as _, query, query_as};

use super::backend::{Tx, reading, row, statements, within};
use super::markers::{self, Marker};
use super::{Store, StoreError, time};
use crate::clock::Timestamp;
use crate::id::UserId;

/// The role of an account that no rule gives another one.
pub const ROLE_USER: &str = "USER";
/// The role of the first administrator.
pub const ROLE_ADMIN: &str = "ADMIN";

statements! {
    INSERT = "INSERT INTO users (id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT DO NOTHING";
    INSERT_PASSWORD = "INSERT INTO passwords (user_id, hash, update_time) VALUES ($1, $2, $3)";
    FIND = "SELECT id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time FROM users WHERE id = $1";
    FIND_BY_EMAIL = "SELECT id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time FROM users WHERE email = $1";
    FIND_WITH_PASSWORD = "SELECT u.id, u.email, u.email_verified, u.name, u.username, u.role, u.provider, u.avatar_url, u.create_time, u.update_time,
            p.hash
        FROM users u LEFT JOIN passwords p ON p.user_id = u.id WHERE u.email = $1";
    /// What a provider says at a login; what it leaves out stays, and an address that another account holds stays out.
    UPDATE_PROFILE = "UPDATE users SET name = COALESCE(NULLIF($2, ''), name), username = COALESCE(NULLIF($3, ''), username),
            avatar_url = COALESCE(NULLIF($4, ''), avatar_url),
            email = CASE WHEN $5 = '' OR EXISTS (SELECT 1 FROM users o WHERE o.email = $5 AND o.id <> $1) THEN email ELSE $5 END,
            email_verified = CASE WHEN $5 = '' OR EXISTS (SELECT 1 FROM users o WHERE o.email = $5 AND o.id <> $1) THEN email_verified ELSE $6 END,
            update_time = $7
        WHERE id = $1 AND (($2 <> '' AND name <> $2) OR ($3 <> '' AND username <> $3) OR ($4 <> '' AND avatar_url <> $4) OR ($5 <> '' AND (COALESCE(email, '') <> $5 OR email_verified <> $6)))";
    LIST = "SELECT id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time FROM users
        WHERE create_time > $1 OR (create_time = $1 AND id > $2) ORDER BY create_time, id LIMIT $3";
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    /// Canonical; absent where a provider gave none.
    pub email: Option<String>,
    pub email_verified: bool,
    pub name: String,
    pub username: String,
    pub role: String,
    /// `local` or a provider's id.
    pub provider: String,
    pub avatar_url: String,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

row! {
    pub(super) struct UserRow {
        pub(super) id: String,
        pub(super) email: Option<String>,
        pub(super) email_verified: bool,
        pub(super) name: String,
        pub(super) username: String,
        pub(super) role: String,
        pub(super) provider: String,
        pub(super) avatar_url: String,
        pub(super) create_time: i64,
        pub(super) update_time: i64,
    }
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId::parse(&row.id)
                .ok_or_else(|| StoreError::corrupt("users", "id", &row.id))?,
            email: row.email,
            email_verified: row.email_verified,
            name: row.name,
            username: row.username,
            role: row.role,
            provider: row.provider,
            avatar_url: row.avatar_url,
            create_time: time(row.create_time),
            update_time: time(row.update_time),
        })
    }
}

/// An account to be made.
#[derive(Debug)]
pub struct NewUser {
    pub id: UserId,
    pub email: Option<String>,
    pub email_verified: bool,
    pub name: String,
    pub username: String,
    pub provider: String,
    pub avatar_url: String,
    pub create_time: Timestamp,
}

/// How a new local account may become the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminClaim {
    /// It may not.
    None,
    /// By being the first account of the store.
    First,
    /// By the bootstrap token, where no account became administrator before.
    Bootstrap,
    /// As `Bootstrap`, and otherwise no account is made at all.
    BootstrapOnly,
}

/// What became of a registration.
#[derive(Debug)]
pub enum Registered {
    Made(User),
    /// Another account holds the address.
    EmailInUse,
    /// With [`AdminClaim::BootstrapOnly`]: the token has had its use.
    Closed,
}

impl Store {
    /// Makes a local account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_local_user(
        &self,
        user: NewUser,
        hash: &str,
        claim: AdminClaim,
    ) -> Result<Registered, StoreError> {
        let mut tx = self.begin().await?;
        let Some(user) = insert(&mut tx, user, claim).await? else {
            return Ok(Registered::EmailInUse);
        };
        if claim == AdminClaim::BootstrapOnly && user.role != ROLE_ADMIN {
            return Ok(Registered::Closed);
        }
        within!(tx, |db| query(INSERT_PASSWORD)
            .bind(user.id.as_str())
            .bind(hash)
            .bind(user.create_time.millis())
            .execute(db)
            .await
            .map(drop))?;
        tx.commit().await?;
        Ok(Registered::Made(user))
    }

    /// The user of an id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let row = reading!(self, |db| query_as::<_, UserRow>(FIND)
            .bind(id.as_str())
            .fetch_optional(db)
            .await)?;
        row.map(User::try_from).transpose()
    }

    /// The user of a canonical address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let row = reading!(self, |db| query_as::<_, UserRow>(FIND_BY_EMAIL)
            .bind(email)
            .fetch_optional(db)
            .await)?;
        row.map(User::try_from).transpose()
    }

    /// The user of a canonical address, with the hash of the password where they have one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_user_with_password(
        &self,
        email: &str,
    ) -> Result<Option<(User, Option<String>)>, StoreError> {
        let found = reading!(self, |db| {
            let row = query(FIND_WITH_PASSWORD)
                .bind(email)
                .fetch_optional(db)
                .await?;
            row.map(|row| Ok::<_, sqlx::Error>((UserRow::from_row(&row)?, row.try_get("hash")?)))
                .transpose()
        })?;
        found
            .map(|(row, hash)| Ok((User::try_from(row)?, hash)))
            .transpose()
    }

    /// Users made after (`after_time`, `after_id`), oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_users(
        &self,
        after: (i64, &str),
        limit: i64,
    ) -> Result<Vec<User>, StoreError> {
        let rows = reading!(self, |db| query_as::<_, UserRow>(LIST)
            .bind(after.0)
            .bind(after.1)
            .bind(limit)
            .fetch_all(db)
            .await)?;
        rows.into_iter().map(User::try_from).collect()
    }
}

/// Inserts an account; `None` where another one holds the address.
pub(super) async fn insert(
    tx: &mut Tx,
    new: NewUser,
    claim: AdminClaim,
) -> Result<Option<User>, StoreError> {
    let first = markers::claim(tx, Marker::FirstAccount, new.id.as_str()).await?;
    let admin = match claim {
        AdminClaim::None => false,
        AdminClaim::First => {
            first && markers::claim(tx, Marker::Administrator, new.id.as_str()).await?
        }
        AdminClaim::Bootstrap | AdminClaim::BootstrapOnly => {
            markers::claim(tx, Marker::Administrator, new.id.as_str()).await?
        }
    };
    let role = if admin { ROLE_ADMIN } else { ROLE_USER };
    let inserted = within!(*tx, |db| query(INSERT)
        .bind(new.id.as_str())
        .bind(new.email.as_deref())
        .bind(new.email_verified)
        .bind(&new.name)
        .bind(&new.username)
        .bind(role)
        .bind(&new.provider)
        .bind(&new.avatar_url)
        .bind(new.create_time.millis())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok((inserted == 1).then(|| new.with_role(role)))
}

impl NewUser {
    fn with_role(self, role: &str) -> User {
        User {
            id: self.id,
            email: self.email,
            email_verified: self.email_verified,
            name: self.name,
            username: self.username,
            role: role.to_owned(),
            provider: self.provider,
            avatar_url: self.avatar_url,
            create_time: self.create_time,
            update_time: self.create_time,
        }
    }
}

/// Takes over what a provider says of its user; whether anything changed.
pub(super) async fn update_profile(
    tx: &mut Tx,
    user: &UserId,
    profile: &NewUser,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let updated = within!(*tx, |db| query(UPDATE_PROFILE)
        .bind(user.as_str())
        .bind(&profile.name)
        .bind(&profile.username)
        .bind(&profile.avatar_url)
        .bind(profile.email.as_deref().unwrap_or_default())
        .bind(profile.email_verified)
        .bind(now.millis())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(updated == 1)
}

/// The user of an id, within a transaction.
pub(super) async fn find(tx: &mut Tx, id: &str) -> Result<Option<User>, StoreError> {
    let row = within!(*tx, |db| query_as::<_, UserRow>(FIND)
        .bind(id)
        .fetch_optional(db)
        .await)?;
    row.map(User::try_from).transpose()
}
