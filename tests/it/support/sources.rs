//! The sources, for the rules that they have to keep.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A source file without its tests and comments.
pub struct Source {
    /// Below `src`, such as `auth/login.rs`.
    pub path: String,
    /// The lines that are left, with their numbers.
    pub lines: Vec<(usize, String)>,
    pub length: usize,
}

impl Source {
    pub fn top(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super::` lead from the file to the root of the crate.
    pub fn depth(&self) -> usize {
        self.path
            .split('/')
            .filter(|part| *part != "mod.rs")
            .count()
    }
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

pub fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let path = path
            .strip_prefix(&root)
            .expect("below src")
            .to_str()
            .expect("UTF-8")
            .replace('\\', "/");
        Source {
            length: text.lines().count(),
            lines: code(&text),
            path,
        }
    };
    let sources: Vec<_> = files(&root)
        .expect("the sources")
        .into_iter()
        .map(read)
        .collect();
    assert!(sources.len() > 50, "the sources are not found");
    sources
}

/// Whether the whole file consists of tests.
pub fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "tests.rs", "testing.rs"].contains(&part))
}

/// The lines that are neither a comment nor an item under `#[cfg(test)]`.
pub fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines = text.lines().enumerate();
    let mut kept = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == "#[cfg(test)]" {
            let (_, item) = lines.next().expect("an item");
            if item.ends_with('{') {
                lines
                    .by_ref()
                    .find(|(_, line)| *line == "}")
                    .expect("the item's end");
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push((number + 1, line.to_owned()));
        }
    }
    kept
}

/// Fails with a list of all faults, one per line.
pub fn assert_none(rule: &str, faults: &[(String, usize, String)]) {
    let mut text = String::new();
    for (path, line, fault) in faults {
        writeln!(text, "  src/{path}:{line}: {fault}").expect("written");
    }
    assert!(faults.is_empty(), "{rule}:\n{text}");
}
