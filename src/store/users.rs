//! Accounts and their passwords.

use const_format::concatcp;
use sqlx::{FromRow as _, Row as _, query, query_as, query_scalar};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, transaction};
use super::error::StoreError;
use super::markers::{self, Marker};
use super::record::{Bind as _, Record as _, record};
use crate::clock::Timestamp;
use crate::id::UserId;
use crate::metrics::Lane;
use crate::model::account::{AdminClaim, Profile, ROLE_ADMIN, Registered, User};
use crate::model::email::Email;
use crate::model::page::{Page, PageRequest};

record!(User, "users", key id, as "u" "user_", {
    id, email, email_verified, name, username, role, provider, avatar_url, create_time, update_time,
});

statements! {
    INSERT = concatcp!("INSERT INTO users (", User::COLUMNS, ") VALUES (", User::PLACEHOLDERS, ") ON CONFLICT DO NOTHING");
    INSERT_PASSWORD = "INSERT INTO passwords (user_id, hash, update_time) VALUES ($1, $2, $3)";
    FIND = concatcp!("SELECT ", User::COLUMNS, " FROM users WHERE id = $1");
    FIND_BY_EMAIL = concatcp!("SELECT ", User::COLUMNS, " FROM users WHERE email = $1");
    FIND_WITH_PASSWORD = concatcp!(
        "SELECT ", User::COLUMNS, ", (SELECT p.hash FROM passwords p WHERE p.user_id = users.id) AS hash
        FROM users WHERE email = $1"
    );
    FIND_PASSWORD = "SELECT hash FROM passwords WHERE user_id = $1";
    /// Takes over a provider's claims at a login. What the provider leaves out is kept, and so is
    /// the e-mail address if another account holds the new one. An address that the provider does
    /// not call verified ($8) is taken away.
    UPDATE_PROFILE = "UPDATE users SET name = COALESCE(NULLIF($2, ''), name), username = COALESCE(NULLIF($3, ''), username),
            avatar_url = COALESCE(NULLIF($4, ''), avatar_url),
            email = CASE WHEN email = $8 THEN NULL WHEN $5 = '' OR EXISTS (SELECT 1 FROM users o WHERE o.email = $5 AND o.id <> $1) THEN email ELSE $5 END,
            email_verified = CASE WHEN email = $8 THEN FALSE WHEN $5 = '' OR EXISTS (SELECT 1 FROM users o WHERE o.email = $5 AND o.id <> $1) THEN email_verified ELSE $6 END,
            update_time = $7
        WHERE id = $1 AND (($2 <> '' AND name <> $2) OR ($3 <> '' AND username <> $3) OR ($4 <> '' AND avatar_url <> $4)
            OR ($5 <> '' AND (COALESCE(email, '') <> $5 OR email_verified <> $6)) OR email = $8)";
    LIST = concatcp!(
        "SELECT ", User::COLUMNS, " FROM users
        WHERE (create_time, id) > ($1, $2) ORDER BY create_time, id LIMIT $3"
    );
}

impl Store {
    /// Inserts a local account with the hash of its password.
    pub async fn insert_local_user(
        &self,
        user: User,
        hash: &str,
        claim: AdminClaim,
    ) -> Result<Registered, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        transaction!(self, |tx| {
            let Some(user) = insert(&mut tx, user.clone(), claim).await? else {
                return Ok(Registered::EmailInUse);
            };
            if claim == AdminClaim::BootstrapOnly && user.role != ROLE_ADMIN {
                // Without a commit, the transaction is rolled back with the account.
                return Ok(Registered::Closed);
            }
            in_tx!(tx, INSERT_PASSWORD, |db, sql| query(sql)
                .bind(user.id.as_str())
                .bind(hash)
                .bind(user.create_time.millis())
                .execute(db)
                .await
                .map(drop))?;
            tx.commit().await?;
            Ok(Registered::Made(user))
        })
    }

    /// The user with this id.
    pub async fn find_user(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let user = reading!(self, FIND, |db, sql| query_as::<_, User>(sql)
            .bind(id.as_str())
            .fetch_optional(db)
            .await)?;
        Ok(user)
    }

    /// The user with this e-mail address.
    pub async fn find_user_by_email(&self, email: &Email) -> Result<Option<User>, StoreError> {
        let user = reading!(self, FIND_BY_EMAIL, |db, sql| query_as::<_, User>(sql)
            .bind(email.as_str())
            .fetch_optional(db)
            .await)?;
        Ok(user)
    }

    /// The user with this e-mail address, and the hash of their password if they have one.
    pub async fn find_user_with_password(
        &self,
        email: &Email,
    ) -> Result<Option<(User, Option<String>)>, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        reading!(self, FIND_WITH_PASSWORD, |db, sql| query(sql)
            .bind(email.as_str())
            .fetch_optional(db)
            .await
            .and_then(|row| row
                .map(|row| Ok((User::from_row(&row)?, row.try_get("hash")?)))
                .transpose()))
    }

    /// The hash of a user's password, if they have one.
    pub async fn find_password(&self, user: &UserId) -> Result<Option<String>, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        reading!(self, FIND_PASSWORD, |db, sql| query_scalar(sql)
            .bind(user.as_str())
            .fetch_optional(db)
            .await)
    }

    /// Users, oldest first.
    pub async fn list_users(&self, page: &PageRequest) -> Result<Page<User>, StoreError> {
        let (time, id) = page.ascending();
        let users = reading!(self, LIST, |db, sql| query_as::<_, User>(sql)
            .bind(time)
            .bind(id)
            .bind(page.limit())
            .fetch_all(db)
            .await)?;
        Ok(Page::new(users, page))
    }
}

/// Inserts an account, as administrator if its claim succeeds; `None` if another account holds the
/// e-mail address.
pub(super) async fn insert(
    tx: &mut Tx,
    mut user: User,
    claim: AdminClaim,
) -> Result<Option<User>, StoreError> {
    // Every account claims this marker, so that only the very first can get it, even if that one
    // does not want to be administrator.
    let first = markers::claim(tx, Marker::FirstAccount, user.id.as_str()).await?;
    let may_claim = match claim {
        AdminClaim::None => false,
        AdminClaim::First => first,
        AdminClaim::Bootstrap | AdminClaim::BootstrapOnly => true,
    };
    if may_claim && markers::claim(tx, Marker::Administrator, user.id.as_str()).await? {
        ROLE_ADMIN.clone_into(&mut user.role);
    }
    let inserted = in_tx!(*tx, INSERT, |db, sql| user
        .bind_to(query(sql))
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok((inserted == 1).then_some(user))
}

/// Takes over a provider's claims about the user.
pub(super) async fn update_profile(
    tx: &mut Tx,
    user: &UserId,
    profile: &Profile,
    now: Timestamp,
) -> Result<(), StoreError> {
    in_tx!(*tx, UPDATE_PROFILE, |db, sql| query(sql)
        .bind(user.as_str())
        .bind(&profile.name)
        .bind(&profile.username)
        .bind(&profile.avatar_url)
        .bind(profile.email.as_ref().map_or("", Email::as_str))
        .bind(profile.email_verified)
        .bind(now.millis())
        .bind(profile.unverified_email.as_ref().map_or("", Email::as_str))
        .execute(db)
        .await
        .map(drop))?;
    Ok(())
}

/// The user with this id, read within a transaction.
pub(super) async fn find(tx: &mut Tx, id: &UserId) -> Result<Option<User>, StoreError> {
    let user = in_tx!(*tx, FIND, |db, sql| query_as::<_, User>(sql)
        .bind(id.as_str())
        .fetch_optional(db)
        .await)?;
    Ok(user)
}
