//! All rows, to seal their values anew.

use const_format::concatcp;
use sqlx::query;

use super::{SELECT, TokensOrError};
use crate::model::provider_tokens::{SealedTokens, TokensKey};
use crate::store::Store;
use crate::store::backend::{in_tx, statements, transaction};
use crate::store::error::StoreError;
use crate::store::record::{Bind as _, Record as _};

statements! {
    LIST_AFTER = concatcp!(
        SELECT, "WHERE (t.session_id, t.identity_id) > ($1, $2) ORDER BY t.session_id, t.identity_id LIMIT $3"
    );
    /// The seal of the state changes with everything else that is sealed.
    RESEAL = concatcp!(
        "UPDATE federated_tokens SET (", SealedTokens::COLUMNS, ") = (", SealedTokens::PLACEHOLDERS, ")
        WHERE session_id = $10 AND identity_id = $11 AND state_seal = $12"
    );
}

/// What a row is to be replaced by if its state still has that seal.
pub type NewSeals = (TokensKey, Vec<u8>, SealedTokens);

impl Store {
    /// At most `limit` rows after `after`.
    pub async fn list_tokens_after(
        &self,
        after: Option<&TokensKey>,
        limit: i64,
    ) -> Result<Vec<TokensOrError>, StoreError> {
        self.list_after(LIST_AFTER, after, limit).await
    }

    /// Replaces the rows that nobody changed since they were read, in one transaction; returns how
    /// many these were. What the rows hold stays the same, so no process has to read them again.
    pub async fn reseal_tokens(&self, new: &[NewSeals]) -> Result<u64, StoreError> {
        transaction!(self, |tx| {
            let mut replaced = 0;
            for (key, seen, content) in new {
                replaced += in_tx!(tx, RESEAL, |db, sql| content
                    .bind_to(query(sql))
                    .bind(key.session_id.as_str())
                    .bind(key.identity_id.as_str())
                    .bind(seen)
                    .execute(db)
                    .await
                    .map(|done| done.rows_affected()))?;
            }
            tx.commit().await?;
            Ok(replaced)
        })
    }
}
