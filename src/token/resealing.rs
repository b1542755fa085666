//! Seals the private halves of signing keys anew when the root key changes.

use super::signing_keys;
use crate::error::Result;
use crate::model::sealed::{Resealing, Verdict};
use crate::secret::{Keyring, Purpose};
use crate::store::Store;

/// Keys in one transaction.
const BATCH: i64 = 100;

/// Seals the next keys after `after` anew, whatever their states are.
///
/// # Errors
/// The store's.
pub async fn reseal_signing_keys(
    store: &Store,
    keyring: &Keyring,
    after: Option<&String>,
) -> Result<Resealing<String>> {
    let after = after.map_or("", String::as_str);
    let rows = store.list_sealed_signing_keys(after, BATCH).await?;
    let (done, new) = Resealing::of("signing_keys", rows, |kid, sealed| {
        let context = signing_keys::context(kid);
        Verdict::of(keyring.reseal(Purpose::SigningKeys, &context, sealed))
    });
    Ok(done.replaced(store.replace_sealed_signing_keys(&new).await?))
}
