//! Signing keys; their private halves are sealed.
//!
//! One key is active at every time, and one at most is the next: indexes hold the second half of that,
//! and each change of the active key puts another one in its place in the same transaction.

use const_format::concatcp;
use sqlx::{query, query_as, query_scalar};

use super::Store;
use super::backend::{Tx, in_tx, reading, statements, transaction, writing};
use super::error::StoreError;
use super::record::{Bind as _, Record as _, record};
use crate::clock::Timestamp;
use crate::model::change::Change;
use crate::model::signing_key::{SealedSigningKey, SigningKeyState};

record!(SealedSigningKey, "signing_keys", key id, {
    id, algorithm, public_key, private_key, state, create_time, activate_time, retire_time, revoke_time,
});

statements! {
    LIST = concatcp!("SELECT ", SealedSigningKey::COLUMNS, " FROM signing_keys
        ORDER BY CASE state WHEN 'next' THEN 0 WHEN 'active' THEN 1 WHEN 'retired' THEN 2 ELSE 3 END, create_time DESC, id");
    INSERT = concatcp!("INSERT INTO signing_keys (", SealedSigningKey::COLUMNS, ") VALUES (", SealedSigningKey::PLACEHOLDERS, ") ON CONFLICT DO NOTHING");
    RETIRE = "UPDATE signing_keys SET state = 'retired', retire_time = $2 WHERE id = $1 AND state = 'active'";
    ACTIVATE = "UPDATE signing_keys SET state = 'active', activate_time = $2 WHERE id = $1 AND state = 'next'";
    ACTIVATE_NEXT = "UPDATE signing_keys SET state = 'active', activate_time = $1 WHERE state = 'next'";
    LOCK = "UPDATE signing_keys SET state = state WHERE id = $1 RETURNING state";
    REVOKE = "UPDATE signing_keys SET state = 'revoked', revoke_time = $2 WHERE id = $1";
    WITHDRAW = "DELETE FROM signing_keys WHERE id = $1 AND state = 'next'";
    DELETE = "DELETE FROM signing_keys WHERE (state = 'retired' AND retire_time <= $1) OR (state = 'revoked' AND revoke_time <= $2)";
}

/// What signs in the place of the active key.
#[derive(Clone, Copy, Debug)]
pub enum Successor<'a> {
    /// The next key, if it is this one.
    Next(&'a str),
    /// The next key, whichever it is, or this one if there is none.
    NextOr(&'a SealedSigningKey),
}

/// What a revocation of a key found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRevocation {
    /// There is no such key.
    Unknown,
    /// It was revoked before.
    Before,
    /// It is revoked now, and was in this state.
    Now(SigningKeyState),
}

impl Store {
    /// All signing keys: the next one, the active one, then those that signed before, the newest first.
    pub async fn list_signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        Ok(reading!(self, LIST, |db, sql| query_as(sql)
            .fetch_all(db)
            .await)?)
    }

    /// Inserts the first key of a store; does nothing if there is an active key already.
    pub async fn insert_first_signing_key(&self, key: &SealedSigningKey) -> Result<(), StoreError> {
        writing!(self, INSERT, |db, sql| key
            .bind_to(query(sql))
            .execute(db)
            .await
            .map(drop))
    }

    /// Inserts a next key; `false` if there is one already.
    pub async fn insert_next_signing_key(
        &self,
        key: &SealedSigningKey,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let inserted = insert(&mut tx, key).await?;
            commit(tx, inserted, Change::KeysChanged).await
        })
    }

    /// Deletes the next key, if it is this one: it has signed nothing. Returns whether it did.
    pub async fn withdraw_next_signing_key(&self, kid: &str) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let withdrawn = in_tx!(tx, WITHDRAW, |db, sql| query(sql)
                .bind(kid)
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            commit(tx, withdrawn == 1, Change::KeysChanged).await
        })
    }

    /// Retires the active key and puts another one in its place; `false` if the active key is another
    /// one by now, or the successor is not there.
    pub async fn replace_signing_key(
        &self,
        active: &str,
        successor: Successor<'_>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let retired = in_tx!(tx, RETIRE, |db, sql| query(sql)
                .bind(active)
                .bind(now.millis())
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            let replaced = retired == 1 && activate(&mut tx, successor, now).await?;
            commit(tx, replaced, Change::KeysChanged).await
        })
    }

    /// Revokes a key. If it is the active one, the next key is put in its place, or `new` if there is
    /// none.
    pub async fn revoke_signing_key(
        &self,
        kid: &str,
        new: &SealedSigningKey,
        now: Timestamp,
    ) -> Result<KeyRevocation, StoreError> {
        transaction!(self, |tx| {
            let state: Option<String> = in_tx!(tx, LOCK, |db, sql| query_scalar(sql)
                .bind(kid)
                .fetch_optional(db)
                .await)?;
            let Some(state) = state else {
                return Ok(KeyRevocation::Unknown);
            };
            let state = SigningKeyState::parse(&state)
                .ok_or_else(|| StoreError::corrupt("signing_keys", "state", kid))?;
            if state == SigningKeyState::Revoked {
                return Ok(KeyRevocation::Before);
            }
            in_tx!(tx, REVOKE, |db, sql| query(sql)
                .bind(kid)
                .bind(now.millis())
                .execute(db)
                .await
                .map(drop))?;
            if state == SigningKeyState::Active {
                activate(&mut tx, Successor::NextOr(new), now).await?;
            }
            tx.note(Change::KeyRevoked(kid.to_owned()));
            tx.commit().await?;
            Ok(KeyRevocation::Now(state))
        })
    }

    /// Deletes keys that were retired or revoked so long ago; returns whether there were any.
    pub async fn delete_ended_signing_keys(
        &self,
        retired_before: Timestamp,
        revoked_before: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let deleted = in_tx!(tx, DELETE, |db, sql| query(sql)
                .bind(retired_before.millis())
                .bind(revoked_before.millis())
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            commit(tx, deleted > 0, Change::KeysChanged).await
        })
    }
}

/// Commits a change if there is one; otherwise the transaction is rolled back.
async fn commit(mut tx: Tx, has_changed: bool, change: Change) -> Result<bool, StoreError> {
    if has_changed {
        tx.note(change);
        tx.commit().await?;
    }
    Ok(has_changed)
}

async fn insert(tx: &mut Tx, key: &SealedSigningKey) -> Result<bool, StoreError> {
    let inserted = in_tx!(*tx, INSERT, |db, sql| key
        .bind_to(query(sql))
        .execute(db)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(inserted == 1)
}

/// Makes the successor active, in a transaction that has ended the active key.
async fn activate(
    tx: &mut Tx,
    successor: Successor<'_>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    match successor {
        Successor::Next(kid) => {
            let activated = in_tx!(*tx, ACTIVATE, |db, sql| query(sql)
                .bind(kid)
                .bind(now.millis())
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            Ok(activated == 1)
        }
        Successor::NextOr(new) => {
            let activated = in_tx!(*tx, ACTIVATE_NEXT, |db, sql| query(sql)
                .bind(now.millis())
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            Ok(activated == 1 || insert(tx, new).await?)
        }
    }
}

#[cfg(test)]
mod tests;
