//! Commits, which write to the change feed.
//!
//! A counter numbers the changes. The transaction that makes a change raises the counter last and so
//! locks it until its commit: the order of the numbers is the order of the commits, and who has read
//! up to a number has missed nothing before it.

use const_format::concatcp;
use sqlx::{query, query_scalar};

use super::ChangeRow;
use crate::clock::Timestamp;
use crate::model::change::{Change, Numbered};
use crate::store::backend::{Tx, in_tx, statements};
use crate::store::error::StoreError;
use crate::store::record::{Bind as _, Record as _};

statements! {
    NEXT = "UPDATE change_counter SET number = number + 1 WHERE id = 1 RETURNING number";
    INSERT = concatcp!("INSERT INTO changes (", ChangeRow::COLUMNS, ") VALUES (", ChangeRow::PLACEHOLDERS, ")");
}

impl Tx {
    /// Notes what the transaction has just changed, for the change feed.
    pub(in crate::store) fn note(&mut self, change: Change) {
        self.changes.push((change, self.clock.now()));
    }

    /// Writes the noted changes to the feed, commits, and announces them. They are written last,
    /// because whoever numbers a change holds up all others until the commit.
    pub(in crate::store) async fn commit(mut self) -> Result<(), StoreError> {
        let mut numbered = Vec::with_capacity(self.changes.len());
        for (change, now) in std::mem::take(&mut self.changes) {
            let number = append(&mut self, &change, now).await?;
            numbered.push(Numbered { number, change });
        }
        self.lease.commit().await?;
        for change in &numbered {
            self.announcements.publish_own(change);
        }
        Ok(())
    }
}

/// Writes a change with the next number, and returns it.
pub(super) async fn append(
    tx: &mut Tx,
    change: &Change,
    now: Timestamp,
) -> Result<i64, StoreError> {
    let number = in_tx!(*tx, NEXT, |db, sql| query_scalar(sql).fetch_one(db).await)?;
    let row = ChangeRow::new(number, change, now);
    in_tx!(*tx, INSERT, |db, sql| row
        .bind_to(query(sql))
        .execute(db)
        .await
        .map(drop))?;
    Ok(number)
}
