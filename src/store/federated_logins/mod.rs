//! Sign-ins at a provider: stored when they begin, and completed in one transaction.

use const_format::concatcp;
use sqlx::{query, query_as, query_scalar};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, transaction, writing};
use super::error::StoreError;
use super::record::{Bind as _, Record as _, record};
use super::{federated_tokens, sessions, users};
use crate::clock::Timestamp;
use crate::id::UserId;
use crate::metrics::{Ended, Lane};
use crate::model::account::{AdminClaim, Profile, User};
use crate::model::change::Change;
use crate::model::identity::{
    Committed, ConfirmedAccount, ConfirmedLogin, FederatedLogin, Identity, NewIdentity,
};
use crate::model::session::Opening;

record!(FederatedLogin, "federated_logins", key provider, {
    state_hash, binding_hash, provider, caller, secrets, return_to, expire_time,
});
record!(Identity, "identities", key id, { id, user_id });

statements! {
    INSERT_LOGIN = concatcp!("INSERT INTO federated_logins (", FederatedLogin::COLUMNS, ") VALUES (", FederatedLogin::PLACEHOLDERS, ")");
    CONSUME_LOGIN = concatcp!("DELETE FROM federated_logins WHERE state_hash = $1 RETURNING ", FederatedLogin::COLUMNS);
    FIND_IDENTITY = concatcp!("SELECT ", Identity::COLUMNS, " FROM identities WHERE issuer = $1 AND subject = $2");
    INSERT_IDENTITY = "INSERT INTO identities (id, user_id, provider, issuer, subject, create_time) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (issuer, subject) DO NOTHING";
    EMAIL_TAKEN = "SELECT id FROM users WHERE email = $1";
}

impl Store {
    /// Stores a sign-in that has begun.
    pub async fn insert_federated_login(&self, login: &FederatedLogin) -> Result<(), StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        writing!(self, INSERT_LOGIN, |db, sql| login
            .bind_to(query(sql))
            .execute(db)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Deletes the sign-in with this state and returns it; of several concurrent calls one gets it.
    pub async fn consume_federated_login(
        &self,
        state_hash: &[u8],
    ) -> Result<Option<FederatedLogin>, StoreError> {
        let _turn = self.lanes.turn(Lane::SignIns).await?;
        // In a transaction: SQLite commits a lone RETURNING statement after its row is read, and
        // sqlx drops an error of that commit.
        transaction!(self, |tx| {
            let login = in_tx!(tx, CONSUME_LOGIN, |db, sql| query_as::<_, FederatedLogin>(
                sql
            )
            .bind(state_hash)
            .fetch_optional(db)
            .await)?;
            tx.commit().await?;
            Ok(login)
        })
    }

    /// The identity of an account at a provider, found by issuer and subject alone.
    pub async fn find_identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<Identity>, StoreError> {
        let identity = reading!(self, FIND_IDENTITY, |db, sql| query_as::<_, Identity>(sql)
            .bind(issuer)
            .bind(subject)
            .fetch_optional(db)
            .await)?;
        Ok(identity)
    }

    /// Stores the session and the tokens of a confirmed sign-in, and its user and identity if they
    /// are new.
    // No turn: each of these took one when its state was consumed, and could not be asked for again.
    pub async fn commit_federated_login(
        &self,
        login: ConfirmedLogin,
    ) -> Result<Committed, StoreError> {
        let committed = transaction!(self, |tx| {
            let committed = commit(&mut tx, &login).await?;
            if matches!(committed, Committed::SignedIn { .. }) {
                tx.commit().await?;
            }
            Ok(committed)
        })?;
        if let Committed::SignedIn { ended, .. } = committed {
            self.count_ended(Ended::Cap, ended);
        }
        Ok(committed)
    }
}

/// Stores a confirmed sign-in within a transaction. If it returns anything but
/// [`Committed::SignedIn`], the transaction is to be rolled back.
async fn commit(tx: &mut Tx, login: &ConfirmedLogin) -> Result<Committed, StoreError> {
    let admitted = match &login.account {
        ConfirmedAccount::New { user, identity } => insert_user(tx, user.clone(), identity).await?,
        ConfirmedAccount::Known(profile) => {
            let session = &login.session;
            update_user(tx, &session.user_id, profile, session.create_time).await?
        }
    };
    let user = match admitted {
        Ok(user) => user,
        Err(committed) => return Ok(committed),
    };
    let opening = sessions::opening::insert(tx, &login.session, login.limit).await?;
    let committed = match opening {
        Opening::Opened { create_time, ended } => Committed::SignedIn {
            user: Box::new(user),
            create_time,
            ended,
        },
        Opening::Banned(ban) => Committed::Banned(ban),
        // A sign-in at a provider has no request id that could repeat.
        Opening::Repeated => Committed::Changed,
    };
    if matches!(committed, Committed::SignedIn { .. }) {
        federated_tokens::insert(tx, &login.tokens).await?;
    }
    Ok(committed)
}

/// Brings a known user up to date, or returns what prevents it.
async fn update_user(
    tx: &mut Tx,
    id: &UserId,
    profile: &Profile,
    now: Timestamp,
) -> Result<Result<User, Committed>, StoreError> {
    let before = users::find(tx, id).await?;
    match users::update_profile(tx, id, profile, now).await {
        // A concurrent registration took the address after the statement had checked it.
        Err(StoreError::Database(sqlx::Error::Database(error))) if error.is_unique_violation() => {
            return Ok(Err(Committed::Changed));
        }
        updated => updated?,
    }
    let after = users::find(tx, id).await?;
    if before.map(claimed) != after.clone().map(claimed) {
        tx.note(Change::UserChanged(id.clone()));
    }
    Ok(after.ok_or(Committed::Changed))
}

/// What an access token's verification tells of a user. Some providers give a new address of the
/// same picture at each login, so the picture is not part of it.
fn claimed(user: User) -> impl PartialEq {
    (
        user.email,
        user.email_verified,
        user.name,
        user.username,
        user.role,
    )
}

/// Inserts a user with their identity, or returns what prevents it.
async fn insert_user(
    tx: &mut Tx,
    new: User,
    identity: &NewIdentity,
) -> Result<Result<User, Committed>, StoreError> {
    if let Some(email) = &new.email {
        let holder: Option<String> = in_tx!(*tx, EMAIL_TAKEN, |db, sql| query_scalar(sql)
            .bind(email.as_str())
            .fetch_optional(db)
            .await)?;
        if holder.is_some() {
            // The holder may be the user of this same identity, inserted by a concurrent sign-in.
            let known = in_tx!(*tx, FIND_IDENTITY, |db, sql| query_as::<_, Identity>(sql)
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
    let inserted = in_tx!(*tx, INSERT_IDENTITY, |db, sql| query(sql)
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
