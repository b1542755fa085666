//! The lock of a user's sessions: opening one, ending all and banning the user wait for each other.

use sqlx::query_scalar;

use crate::clock::Timestamp;
use crate::id::UserId;
use crate::store::backend::{Tx, in_tx, statements};
use crate::store::error::StoreError;

statements! {
    /// An update that changes nothing locks the row until the transaction ends.
    LOCK_USER = "UPDATE users SET update_time = update_time WHERE id = $1 RETURNING not_before";
}

/// Locks the user's row, so that a ban and a session opened at the same time wait for each other:
/// either the ban ends the session, or the session is not opened because of the ban. Returns when the
/// user's next session counts as opened at the earliest.
pub(super) async fn lock_user(tx: &mut Tx, user: &UserId) -> Result<Timestamp, StoreError> {
    let not_before: Option<i64> = in_tx!(*tx, LOCK_USER, |db, sql| query_scalar(sql)
        .bind(user.as_str())
        .fetch_optional(db)
        .await)?;
    // Without the user, the row of a session cannot be written.
    Ok(Timestamp::from_millis(not_before.unwrap_or_default()))
}
