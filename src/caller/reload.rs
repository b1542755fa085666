//! Reads the callers' file again while the service runs.

use std::path::PathBuf;

use super::file::{Callers, Loaded, Surroundings, load};
use super::gate::Gate;
use crate::config::Report;
use crate::metrics::File;
use crate::reload::{Digest, Watched};

/// The callers' file with the files that it names, which had this digest: a change of them changes who
/// passes the gate, from the next call on.
#[must_use]
pub fn watched(path: PathBuf, digest: Digest, around: Surroundings, gate: Gate) -> Watched {
    let read = move || load(&path);
    let apply = move |loaded: Loaded| {
        let mut report = Report::default();
        let callers = Callers::parse(&loaded, &around, &mut report);
        let warnings = report.finish().map_err(|mistakes| mistakes.in_one_line())?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        gate.replace(&callers);
        Ok(())
    };
    Watched::new(File::Callers, digest, read, apply)
}
