//! A session whose user has authenticated again.

use const_format::concatcp;
use sqlx::query;

use super::NOT_ENDED;
use crate::clock::Timestamp;
use crate::model::change::Change;
use crate::model::session::Session;
use crate::store::Store;
use crate::store::backend::{in_tx, statements, transaction};
use crate::store::error::StoreError;

statements! {
    REAUTHENTICATE = concatcp!("UPDATE sessions SET generation = generation + 1, refresh_time = $1, auth_time = $1, amr = $4, acr = $5,
            ip_address = $6, user_agent = $7, device_name = $8
        WHERE id = $2 AND generation = $3 AND ", NOT_ENDED);
}

impl Store {
    /// Moves a session to its next generation with what `session` says of the authentication and of
    /// the device. Returns `false` if it has ended or is not at this generation any more.
    pub async fn reauthenticate_session(
        &self,
        session: &Session,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |tx| {
            let moved = in_tx!(tx, REAUTHENTICATE, |db, sql| query(sql)
                .bind(now.millis())
                .bind(session.id.as_str())
                .bind(session.generation)
                .bind(&session.amr)
                .bind(&session.acr)
                .bind(&session.ip_address)
                .bind(&session.user_agent)
                .bind(&session.device_name)
                .execute(db)
                .await
                .map(|done| done.rows_affected()))?;
            if moved == 0 {
                return Ok(false);
            }
            // VerifyToken tells the class of the session's authentication.
            tx.note(Change::UserChanged(session.user_id.clone()));
            tx.commit().await?;
            Ok(true)
        })
    }
}
