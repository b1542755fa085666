//! `countersign migrate`.

use std::process::ExitCode;

use super::offline;
use crate::app::App;
use crate::store::Migrated;

/// Brings the tables up to date and ends.
pub(super) fn run() -> ExitCode {
    offline::on_store("migrate", async |config| {
        App::migrate(config).await.map(summary)
    })
}

fn summary(migrated: Migrated) -> String {
    let Migrated { from, to } = migrated;
    match from {
        Some(from) if from == to => format!("the tables are up to date: version {to}"),
        Some(from) => format!("the tables were brought from version {from} to {to}"),
        None => format!("the tables were made: version {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_from_which_version_to_which() {
        let summary = |from, to| summary(Migrated { from, to });
        assert_eq!(
            summary(Some(2), 4),
            "the tables were brought from version 2 to 4"
        );
        assert_eq!(summary(Some(4), 4), "the tables are up to date: version 4");
        assert_eq!(summary(None, 4), "the tables were made: version 4");
    }
}
