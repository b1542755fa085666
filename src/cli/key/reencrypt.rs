//! `countersign key reencrypt`.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::app::{App, Progress, Reencrypted};
use crate::cli::offline;

/// A line of progress after so many rows.
const STEP: u64 = 1_000;

/// Seals everything anew and ends. The exit code is 0 only if everything is under the first key.
pub(in crate::cli) fn run() -> ExitCode {
    offline::on_store("seal everything in the store anew", async |config| {
        let mut shown = 0;
        let done = App::reencrypt(config, |progress| show(progress, &mut shown)).await?;
        let said = statement(&done);
        if done.refused_rows == 0 && done.left == 0 {
            Ok(said)
        } else {
            Err(offline::Failure::from(said))
        }
    })
}

#[expect(clippy::print_stdout, reason = "the progress of a subcommand")]
fn show(progress: &Progress, shown: &mut u64) {
    let Progress {
        table,
        tally,
        is_end,
    } = progress;
    let is_due = tally.rows / STEP > *shown;
    *shown = if *is_end { 0 } else { tally.rows / STEP };
    if is_due && !is_end {
        println!(
            "{table}: {} rows so far, {} sealed anew",
            tally.rows, tally.resealed
        );
    }
}

fn statement(done: &Reencrypted) -> String {
    let Reencrypted {
        key,
        resealed,
        refused,
        refused_rows,
        left,
        has_other_keys,
        sessions_end,
    } = done;
    let mut said = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(said, "{text}");
    };
    for row in refused {
        let (table, key, why) = (row.table, &row.key, &row.why);
        line(format!("row {key} of {table} cannot be opened: {why}"));
    }
    let counts = resealed.map(|(table, rows)| format!("{rows} {table}"));
    line(format!(
        "sealed anew with the key {key:?}: {}",
        counts.join(", ")
    ));
    if *refused_rows > 0 {
        line(format!(
            "{refused_rows} rows cannot be opened; they stay as they are"
        ));
    }
    if *left > 0 {
        line(format!(
            "{left} rows were still found to seal anew in the end: a process has another key in front. \
             Give all processes the same COUNTERSIGN_ENCRYPTION_KEYS, and run this again"
        ));
    }
    line(match sessions_end {
        _ if !has_other_keys => "the ring has no other keys".to_owned(),
        Some(end) => format!(
            "keep the other keys until {end}, when the last session of today ends: refresh tokens that \
             they made are good until then"
        ),
        None => "no live session needs the other keys".to_owned(),
    });
    said.trim_end().to_owned()
}
