//! How the memory that the process may use is shared out.
//!
//! What does not depend on load comes first: [`BASE`] and [`HASHES`]. Of the rest, caches may fill one
//! half, if that leaves [`CALLS`]. The other half is also for what the system charges to the process:
//! buffers of sockets and of files.

use crate::machine::Memory;

const MIB: u64 = 1024 * 1024;
/// What the process takes before anybody calls: its code, the connections to the database, and the
/// queues of the log and of traces.
const BASE: u64 = 48 * MIB;
/// Four passwords that are hashed at once, 19 MiB each.
const HASHES: u64 = 80 * MIB;
/// What calls and connections may occupy by their own bounds (`transport/load.rs`,
/// `transport/connection/`).
const CALLS: u64 = 100 * MIB;
/// How much verified tokens may occupy at most: about 100,000 of them.
const MAX_TOKENS: u64 = 448 * MIB;
/// How much decrypted provider tokens may occupy at most.
const MAX_PROVIDER_TOKENS: u64 = 96 * MIB;

/// What the caches may occupy, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    pub tokens: u64,
    pub provider_tokens: u64,
}

impl Budget {
    /// The budget of a process with so much memory, or with enough of it.
    fn of(memory: Option<Memory>) -> Self {
        let bytes = memory.map_or(u64::MAX, |memory| memory.bytes);
        // However little there is, something is cached, because VerifyToken without a cache would be
        // slow.
        let rest = bytes.saturating_sub(BASE + HASHES);
        let caches = (rest / 2).min(rest.saturating_sub(CALLS)).max(bytes / 16);
        let provider_tokens = (caches / 4).min(MAX_PROVIDER_TOKENS);
        let tokens = (caches - caches / 4).min(MAX_TOKENS);
        Self {
            tokens,
            provider_tokens,
        }
    }

    /// The same, logged, with a warning if there is too little memory to be safe.
    pub fn announced(memory: Option<Memory>) -> Self {
        let budget = Self::of(memory);
        let limit_mib = memory.map(|memory| memory.bytes / MIB);
        let source = memory.map(|memory| memory.source.name());
        tracing::info!(
            limit_mib,
            source,
            token_cache_mib = budget.tokens / MIB,
            provider_token_cache_mib = budget.provider_tokens / MIB,
            "the memory that the service may use, and what its caches may occupy of it"
        );
        let needed_mib = (BASE + HASHES + CALLS) / MIB;
        if limit_mib.is_some_and(|limit| limit < needed_mib) {
            tracing::warn!(
                limit_mib,
                needed_mib,
                "the memory limit is less than the service may occupy if it hashes four passwords at once and is flooded with calls; the system may end it then"
            );
        }
        budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Source;

    fn budget(mib: u64) -> [u64; 2] {
        let bytes = mib * MIB;
        let budget = Budget::of(Some(Memory {
            bytes,
            source: Source::ControlGroup,
        }));
        [budget.tokens, budget.provider_tokens].map(|bytes| bytes / MIB)
    }

    #[test]
    fn caches_take_half_of_what_the_process_itself_leaves() {
        assert_eq!(budget(512), [144, 48]);
        assert_eq!(budget(328), [75, 25]);
    }

    #[test]
    fn caches_leave_room_for_calls() {
        assert_eq!(budget(256), [21, 7]);
        assert_eq!(budget(228), [10, 3]);
    }

    #[test]
    fn caches_neither_vanish_nor_grow_for_ever() {
        assert_eq!(budget(64), [3, 1]);
        assert_eq!(budget(1024 * 1024), [448, 96]);
        let unknown = Budget::of(None);
        assert_eq!(unknown.tokens, MAX_TOKENS);
    }
}
