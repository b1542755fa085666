//! Renewals that other processes began and that have no outcome yet.
//!
//! Such an attempt may be under way, or its process may have been killed. It counts as dead once
//! this process has seen it unchanged for the lease's length by its own clock, so no two machines'
//! clocks are compared.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Bounded;

use super::tokens::ProviderTokens;
use crate::clock::Clock;
use crate::model::provider_tokens::TokensKey;

/// How long an attempt keeps others out.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// At most this many attempts are remembered. One that is forgotten is waited for anew.
const ATTEMPTS: u64 = 10_000;

/// The attempts that were seen.
#[derive(Debug)]
pub(super) struct Attempts {
    clock: Clock,
    seen: Bounded<TokensKey, Seen>,
}

/// An attempt, told from others by the seal of its state, and since when it was seen.
#[derive(Clone, Debug)]
struct Seen {
    seal: Arc<[u8]>,
    since: Duration,
}

impl Attempts {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            seen: Bounded::new(ATTEMPTS),
        }
    }

    /// Whether the attempt that these tokens show is dead.
    pub(super) fn is_dead(&self, tokens: &ProviderTokens) -> bool {
        let now = self.clock.elapsed();
        let seen = self.seen.get(&tokens.key);
        let Some(seen) = seen.filter(|seen| *seen.seal == *tokens.state_seal) else {
            let seal = tokens.state_seal.as_slice().into();
            self.seen
                .insert(tokens.key.clone(), Seen { seal, since: now });
            return false;
        };
        now.saturating_sub(seen.since) >= LEASE
    }
}
