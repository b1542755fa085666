//! Reads YAML files, with limits on what a small text may grow to.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, alias_limits, budget, from_str_with_options, options};

/// How often an alias may be replayed on average.
const EVENTS_PER_ALIAS: usize = 100;

/// Reads a YAML document that has at most so many aliases.
///
/// # Errors
/// Those of the parser. Their messages may quote the text, so tell only where the fault is.
pub fn read_yaml<T: DeserializeOwned>(text: &str, max_aliases: usize) -> Result<T, Error> {
    let options = options! {
        with_snippet: false,
        budget: budget! { max_documents: 1, max_aliases: max_aliases, max_nodes: 100_000 },
        alias_limits: alias_limits! { max_total_replayed_events: max_aliases * EVENTS_PER_ALIAS },
    };
    from_str_with_options(text, options)
}
