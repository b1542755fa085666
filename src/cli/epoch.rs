//! `countersign epoch bump`.

use std::process::ExitCode;

use super::offline;
use crate::app::{App, StartError};

const BUMPED: &str =
    "the store has a new epoch: within a second every process drops what it remembers";

/// Gives the store a new epoch and ends.
pub(super) fn bump() -> ExitCode {
    offline::on_store("bump the epoch", async |config| {
        App::begin_new_epoch(config).await?;
        Ok::<_, StartError>(BUMPED.to_owned())
    })
}
