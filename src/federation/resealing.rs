//! Seals provider tokens anew when the root key changes.

use super::attempts::Attempts;
use super::sealing;
use super::vault::Vault;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::provider_tokens::{SealedTokens, StoredTokens, TokenState, TokensKey};
use crate::model::sealed::{Resealing, Verdict};
use crate::secret::Keyring;
use crate::store::{Store, StoreError};

/// Rows in one transaction: few, because on SQLite it holds up other writers.
const BATCH: i64 = 100;

/// Seals the rows of a store anew, while services may use them.
#[derive(Debug)]
pub struct TokenResealing {
    store: Store,
    vault: Vault,
    attempts: Attempts,
}

impl TokenResealing {
    /// With the first key of the ring.
    #[must_use]
    pub fn new(store: Store, keyring: Keyring, clock: Clock) -> Self {
        Self {
            store,
            vault: Vault::new(keyring),
            attempts: Attempts::new(clock),
        }
    }

    /// Prepares the rows that an earlier version sealed, as a start of the service does.
    ///
    /// # Errors
    /// The store's.
    pub async fn prepare(&self) -> Result<()> {
        sealing::seal_anew(&self.store, &self.vault).await
    }

    /// Seals the next rows after `after` anew. A row whose renewal is under way is left: whoever
    /// renews it expects the seal that it wrote. Once its attempt is dead, it is sealed anew too.
    ///
    /// # Errors
    /// The store's.
    pub async fn step(&self, after: Option<&TokensKey>) -> Result<Resealing<TokensKey>> {
        let rows = self.store.list_tokens_after(after, BATCH).await?;
        let (done, new) = Resealing::of("federated_tokens", rows, |_, row| {
            judge(&self.vault, &self.attempts, row)
        });
        let seen = |row: Result<StoredTokens, StoreError>| row.ok()?.content.state_seal;
        let new: Vec<_> = new
            .into_iter()
            .filter_map(|row| Some((row.key, seen(row.read)?, row.new)))
            .collect();
        Ok(done.replaced(self.store.reseal_tokens(&new).await?))
    }
}

fn judge(
    vault: &Vault,
    attempts: &Attempts,
    row: &Result<StoredTokens, StoreError>,
) -> Verdict<SealedTokens> {
    let stored = match row {
        Ok(stored) if vault.is_current(stored) => return Verdict::Current,
        Ok(stored) => stored.clone(),
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    match vault.open(stored) {
        Ok(tokens) if tokens.state == TokenState::Refreshing && !attempts.is_dead(&tokens) => {
            Verdict::InUse
        }
        Ok(tokens) => Verdict::Replace(vault.reseal(&tokens)),
        Err(error) => Verdict::Refused(error.cause_text().trim_start_matches(": ").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Map;

    use super::super::attempts::LEASE;
    use super::super::tokens::ProviderTokens;
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{IdentityId, SessionId, UserId};
    use crate::secret::{RootKey, SecretString};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(id: &str, byte: u8) -> RootKey {
        RootKey::new(id, [byte; 32]).expect("a good id")
    }

    /// Tokens in a state, as a vault seals them for the store.
    fn stored(vault: &Vault, state: TokenState) -> StoredTokens {
        let tokens = ProviderTokens {
            key: TokensKey {
                session_id: SessionId::new(),
                identity_id: IdentityId::new(),
            },
            user_id: UserId::new(NOW),
            issuer: "https://idp.example".to_owned(),
            subject: "ann".to_owned(),
            provider: "openid".to_owned(),
            access_token: SecretString::from("token"),
            access_expire_time: NOW,
            id_token: None,
            refresh_token: None,
            claims: Map::new(),
            scopes: "openid".to_owned(),
            state,
            state_seal: Vec::new(),
            version: 3,
            update_time: NOW,
            weight: 0,
            released: Mutex::default(),
        };
        StoredTokens {
            content: vault.reseal(&tokens),
            key: tokens.key,
            user_id: tokens.user_id,
            issuer: tokens.issuer,
            subject: tokens.subject,
            provider: tokens.provider,
            state,
            version: tokens.version,
        }
    }

    #[test]
    fn a_renewal_under_way_is_left_until_its_attempt_is_dead() {
        let old = Vault::new(Keyring::new(key("old", 1), Vec::new()));
        let both = Vault::new(Keyring::new(key("new", 2), vec![key("old", 1)]));
        let clock = Clock::manual(NOW);
        let attempts = Attempts::new(clock.clone());
        let judge = |row: StoredTokens| judge(&both, &attempts, &Ok(row));
        let row = stored(&old, TokenState::Active);
        assert!(matches!(judge(row), Verdict::Replace(_)));
        let renewed = stored(&old, TokenState::Refreshing);
        assert!(matches!(judge(renewed.clone()), Verdict::InUse));
        clock.advance(LEASE);
        let Verdict::Replace(content) = judge(renewed.clone()) else {
            panic!("the attempt is dead")
        };
        let row = StoredTokens { content, ..renewed };
        assert!(both.is_current(&row));
        assert!(matches!(judge(row.clone()), Verdict::Current));
        let alone = Vault::new(Keyring::new(key("new", 2), Vec::new()));
        let opened = alone.open(row).expect("needs the old key no more");
        assert_eq!((opened.state, opened.version), (TokenState::Refreshing, 3));
    }

    #[test]
    fn a_row_that_does_not_open_is_refused_with_the_reason() {
        let lost = Vault::new(Keyring::new(key("lost", 3), Vec::new()));
        let ring = Vault::new(Keyring::new(key("new", 2), Vec::new()));
        let row = stored(&lost, TokenState::Active);
        let attempts = Attempts::new(Clock::manual(NOW));
        let Verdict::Refused(why) = judge(&ring, &attempts, &Ok(row)) else {
            panic!("it cannot be opened")
        };
        assert!(why.contains("\"lost\""), "{why}");
    }
}
