//! The processors and the memory that the process may use.

mod memory;

use std::thread::available_parallelism;

pub use memory::{Memory, Source};

/// How many processors the process may use, by its affinity and the quota of its control group.
#[must_use]
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}
