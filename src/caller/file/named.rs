//! The files that the callers' file names. They are read together with it, so that a change of one of
//! them is seen, and what is wrong leaves all as it was.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config;
use crate::secret::sha256;

/// The texts of files by their paths, or why they cannot be read.
#[derive(Debug, Default)]
pub(super) struct NamedFiles(BTreeMap<String, Result<String, String>>);

impl NamedFiles {
    /// Reads the files at these paths.
    pub(super) fn read<'a>(paths: impl Iterator<Item = &'a str>) -> Self {
        let read = |path: &'a str| {
            let text = config::read_text(Path::new(path)).map_err(|error| error.to_string());
            (path.to_owned(), text)
        };
        Self(paths.map(read).collect())
    }

    /// The text of one of them.
    pub(super) fn text(&self, path: &str) -> Result<&str, &str> {
        match self.0.get(path) {
            Some(Ok(text)) => Ok(text),
            Some(Err(problem)) => Err(problem),
            None => Err("it was not read"),
        }
    }

    /// What changes if one of them does.
    pub(super) fn digest(&self) -> [u8; 32] {
        let each = self.0.iter().map(|(path, text)| {
            let text = text.as_deref().map(|text| sha256(text.as_bytes()));
            [sha256(path.as_bytes()), text.unwrap_or_default()].concat()
        });
        sha256(&each.collect::<Vec<_>>().concat())
    }
}
