//! The only reader of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{env, fs, io};

use super::dotenv;
use super::report::Mistake;

const FILE: &str = ".env";

/// The environment, captured once: the process's variables, and those of a `.env` file that it
/// lacks.
pub struct Env {
    values: BTreeMap<String, OsString>,
    mistakes: Vec<Mistake>,
}

impl Env {
    /// Captures the process environment and `.env` in the working directory; the process wins.
    #[must_use]
    pub fn capture() -> Self {
        let process =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self::over_file(process, Path::new(FILE))
    }

    /// A made-up environment, for tests.
    pub fn from_pairs<N: Into<String>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            values,
            mistakes: Vec::new(),
        }
    }

    fn over_file(process: impl Iterator<Item = (String, OsString)>, file: &Path) -> Self {
        let mut env = match fs::read_to_string(file) {
            Ok(text) => Self::from_dotenv(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Self::from_pairs::<String, OsString>([])
            }
            Err(error) => {
                let mistakes = vec![Mistake::new(FILE, format!("cannot be read: {error}"))];
                Self {
                    values: BTreeMap::new(),
                    mistakes,
                }
            }
        };
        env.values.extend(process);
        env
    }

    fn from_dotenv(text: &str) -> Self {
        let (pairs, bad_lines) = dotenv::parse(text);
        let mistake = |line| Mistake::new(FILE, format!("line {line} is not NAME=value"));
        Self {
            mistakes: bad_lines.into_iter().map(mistake).collect(),
            ..Self::from_pairs(pairs)
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsString> {
        self.values.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        self.mistakes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "A=file\nB=file\noops\n").expect("written");
        let env = Env::over_file(
            [("A".to_owned(), OsString::from("process"))].into_iter(),
            file.path(),
        );
        assert_eq!(env.get("A"), Some(&"process".into()));
        assert_eq!(env.get("B"), Some(&"file".into()));
        assert_eq!(
            env.mistakes(),
            [Mistake::new(FILE, "line 3 is not NAME=value")]
        );
    }

    #[test]
    fn a_missing_file_is_fine_but_an_unreadable_one_is_a_mistake() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(
            Env::over_file(std::iter::empty(), &directory.path().join("none"))
                .mistakes()
                .is_empty()
        );
        assert_eq!(
            Env::over_file(std::iter::empty(), directory.path())
                .mistakes()
                .len(),
            1
        );
    }
}
