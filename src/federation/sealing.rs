//! Seals rows anew at the start that an earlier version sealed.

use super::vault::Vault;
use crate::error::Result;
use crate::store::Store;

/// Rows in one transaction: few, because on SQLite it holds up other writers.
const BATCH: i64 = 100;

/// Seals the rows anew that have no seal of their state, once in a store's life: later, a row
/// without a seal is one that lost it, and its times and state may have been changed. (The marker is
/// not sealed: whoever kept a row of an earlier version and deletes both could bring it back.) A row that
/// does not open stays as it is: its tokens cannot be used, and its session can be ended.
pub(super) async fn seal_anew(store: &Store, vault: &Vault) -> Result<()> {
    if store.are_tokens_sealed().await? {
        return Ok(());
    }
    let (mut after, mut sealed_rows, mut refused) = (None, 0_usize, 0_usize);
    loop {
        let rows = store
            .list_tokens_without_seal(after.as_ref(), BATCH)
            .await?;
        let Some((last, _)) = rows.last() else { break };
        after = Some(last.clone());
        let count = rows.len();
        let sealed: Vec<_> = rows
            .into_iter()
            .filter_map(|(key, row)| Some((key, row.ok()?)))
            .filter_map(|(key, row)| Some((key, row.version, vault.seal_anew(&row).ok()?)))
            .collect();
        store.set_token_seals(&sealed).await?;
        sealed_rows += sealed.len();
        refused += count - sealed.len();
    }
    store.note_tokens_sealed().await?;
    if sealed_rows > 0 {
        tracing::info!(
            rows = sealed_rows,
            "provider tokens were sealed anew, together with their expiry times and states"
        );
    }
    if refused > 0 {
        tracing::warn!(
            rows = refused,
            "provider tokens of an earlier version do not open; their users have to sign in again"
        );
    }
    Ok(())
}
