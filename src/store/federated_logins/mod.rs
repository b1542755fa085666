//! Sign-ins at a provider: begun, and completed in one transaction.

use sqlx::{query, query_as, query_scalar};

use super::backend::{Tx, reading, row, statements, within, writing};
use super::changes::Change;
use super::federated_tokens::{self, FederatedTokens};
use super::sessions::{self, NewSession, Opening, UserBan};
use super::users::{self, AdminClaim, NewUser, User};
use super::{Store, StoreError, time};
use crate::clock::Timestamp;
use crate::id::{IdentityId, UserId};

statements! {
    INSERT_LOGIN = "INSERT INTO federated_logins (state_hash, binding_hash, provider, caller, secrets, return_to, expire_time) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    CONSUME_LOGIN = "DELETE FROM federated_logins WHERE state_hash = $1 RETURNING binding_hash, provider, caller, secrets, return_to, expire_time";
    DELETE_EXPIRED_LOGINS = "DELETE FROM federated_logins WHERE expire_time <= $1";
    FIND_IDENTITY = "SELECT id, user_id FROM identities WHERE issuer = $1 AND subject = $2";
    INSERT_IDENTITY = "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (issuer, subject) DO NOTHING";
    EMAIL_TAKEN = "SELECT id FROM users WHERE email = $1";
}

/// A sign-in that was begun.
#[derive(Debug)]
pub struct FederatedLogin {
    pub binding_hash: Vec<u8>,
    pub provider: String,
    pub caller: String,
    /// Nonce and code verifier, sealed.
    pub secrets: Vec<u8>,
    pub return_to: String,
    pub expire_time: Timestamp,
}

/// An account at a provider and the user that it belongs to.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: IdentityId,
    pub user_id: UserId,
}

/// An identity to be made together with its user.
#[derive(Debug)]
pub struct NewIdentity {
    pub id: IdentityId,
    pub issuer: String,
    pub subject: String,
}

/// A sign-in that the provider has confirmed, ready to be committed.
#[derive(Debug)]
pub struct ConfirmedLogin {
    pub user: NewUser,
    /// Where the identity is new, and new accounts are accepted; its user is made too.
    pub new_identity: Option<NewIdentity>,
    pub session: NewSession,
    pub tokens: FederatedTokens,
}

/// What became of a confirmed sign-in.
#[derive(Debug)]
pub enum Committed {
    /// The session is open.
    SignedIn(Box<User>),
    /// Another account holds the e-mail address.
    EmailInUse,
    /// The user is banned.
    Banned(UserBan),
    /// The identity has been made, or its user has gone, since it was looked up: look again.
    Changed,
}

row! {
    struct LoginRow {
        binding_hash: Vec<u8>,
        provider: String,
        caller: String,
        secrets: Vec<u8>,
        return_to: String,
        expire_time: i64,
    }
}

row! {
    struct IdentityRow {
        id: String,
        user_id: String,
    }
}

impl Store {
    /// Keeps a sign-in that was begun.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn insert_federated_login(
        &self,
        state_hash: &[u8],
        login: &FederatedLogin,
    ) -> Result<(), StoreError> {
        writing!(self, |db| query(INSERT_LOGIN)
            .bind(state_hash)
            .bind(&login.binding_hash)
            .bind(&login.provider)
            .bind(&login.caller)
            .bind(&login.secrets)
            .bind(&login.return_to)
            .bind(login.expire_time.millis())
            .execute(db)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Takes a sign-in out by its state; of several who try, one gets it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn consume_federated_login(
        &self,
        state_hash: &[u8],
    ) -> Result<Option<FederatedLogin>, StoreError> {
        // In a transaction, because sqlx drops a failed commit of a lone RETURNING statement on SQLite.
        let mut tx = self.begin().await?;
        let row = within!(tx, |db| query_as::<_, LoginRow>(CONSUME_LOGIN)
            .bind(state_hash)
            .fetch_optional(db)
            .await)?;
        tx.commit().await?;
        Ok(row.map(|row| FederatedLogin {
            binding_hash: row.binding_hash,
            provider: row.provider,
            caller: row.caller,
            secrets: row.secrets,
            return_to: row.return_to,
            expire_time: time(row.expire_time),
        }))
    }

    /// Forgets sign-ins that were begun and not completed in time.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn delete_expired_federated_logins(&self, now: Timestamp) -> Result<(), StoreError> {
        writing!(self, |db| query(DELETE_EXPIRED_LOGINS)
            .bind(now.millis())
            .execute(db)
            .await
            .map(drop))?;
        Ok(())
    }

    /// The identity of an account at a provider; nothing but issuer and subject finds it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        let row = reading!(self, |db| query_as::<_, IdentityRow>(FIND_IDENTITY)
            .bind(issuer)
            .bind(subject)
            .fetch_optional(db)
            .await)?;
        row.map(|row| {
            Ok(Identity {
                id: IdentityId::parse(&row.id)
                    .ok_or_else(|| StoreError::corrupt("identities", "id", &row.id))?,
                user_id: UserId::parse(&row.user_id)
                    .ok_or_else(|| StoreError::corrupt("identities", "user_id", &row.id))?,
            })
        })
        .transpose()
    }

    /// Opens the session of a confirmed sign-in with its tokens, and makes user and identity where they are new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn commit_federated_login(
        &self,
        login: ConfirmedLogin,
    ) -> Result<Committed, StoreError> {
        let now = login.session.create_time;
        let mut tx = self.begin().await?;
        let mut changed = false;
        let user = if let Some(identity) = &login.new_identity {
            match insert_user(&mut tx, login.user, identity).await? {
                Ok(user) => user,
                Err(committed) => return Ok(committed),
            }
        } else {
            changed = match users::update_profile(&mut tx, &login.session.user_id, &login.user, now)
                .await
            {
                // A registration took the address after the statement had looked.
                Err(StoreError::Database(sqlx::Error::Database(error)))
                    if error.is_unique_violation() =>
                {
                    return Ok(Committed::Changed);
                }
                updated => updated?,
            };
            let Some(user) = users::find(&mut tx, login.session.user_id.as_str()).await? else {
                return Ok(Committed::Changed);
            };
            user
        };
        if let Opening::Banned(ban) = sessions::opening::insert(&mut tx, &login.session).await? {
            return Ok(Committed::Banned(ban));
        }
        federated_tokens::insert(&mut tx, &login.tokens).await?;
        tx.commit().await?;
        if changed {
            self.publish(&Change::UserChanged(user.id.clone()));
        }
        Ok(Committed::SignedIn(Box::new(user)))
    }
}

/// Makes a user with their identity, or says what stands against it.
async fn insert_user(
    tx: &mut Tx,
    new: NewUser,
    identity: &NewIdentity,
) -> Result<Result<User, Committed>, StoreError> {
    if let Some(email) = &new.email {
        let holder: Option<String> = within!(*tx, |db| query_scalar(EMAIL_TAKEN)
            .bind(email)
            .fetch_optional(db)
            .await)?;
        if holder.is_some() {
            // The holder may be the very user of this identity, made by a parallel sign-in.
            let known = within!(*tx, |db| query_as::<_, IdentityRow>(FIND_IDENTITY)
                .bind(&identity.issuer)
                .bind(&identity.subject)
                .fetch_optional(db)
                .await)?;
            return Ok(Err(if known.is_some() {
                Committed::Changed
            } else {
                Committed::EmailInUse
            }));
        }
    }
    let provider = new.provider.clone();
    let now = new.create_time;
    let Some(user) = users::insert(tx, new, AdminClaim::None).await? else {
        return Ok(Err(Committed::Changed));
    };
    let inserted = within!(*tx, |db| query(INSERT_IDENTITY)
        .bind(identity.id.as_str())
        .bind(user.id.as_str())
        .bind(&provider)
        .bind(&identity.issuer)
        .bind(&identity.subject)
        .bind(now.millis())
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(if inserted == 1 {
        Ok(user)
    } else {
        Err(Committed::Changed)
    })
}

#[cfg(test)]
pub(in crate::store) mod tests;
