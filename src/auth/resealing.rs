//! Seals the secrets of sign-ins in progress anew when the root key changes.

use super::federated_login;
use crate::error::Result;
use crate::model::sealed::{Resealing, Verdict};
use crate::secret::{Keyring, Purpose};
use crate::store::Store;

/// Sign-ins in one transaction.
const BATCH: i64 = 100;

/// Seals the next sign-ins after `after` anew.
///
/// # Errors
/// The store's.
pub async fn reseal_logins(
    store: &Store,
    keyring: &Keyring,
    after: Option<&String>,
) -> Result<Resealing<String>> {
    let after = after.map_or("", String::as_str);
    let rows = store.list_sealed_logins(after, BATCH).await?;
    let (done, new) = Resealing::of("federated_logins", rows, |state_hash, sealed| {
        let context = federated_login::flow_context(state_hash);
        Verdict::of(keyring.reseal(Purpose::LoginFlow, &context, sealed))
    });
    Ok(done.replaced(store.replace_sealed_logins(&new).await?))
}
