//! The only reader of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, io};

use super::dotenv;
use super::file;
use super::librechat_yaml;
use super::report::{Mistake, Place};

const FILE: &str = ".env";
/// LibreChat's settings for work on it, which replace those of `.env`.
const DEVELOPMENT_FILE: &str = ".env.development";
const NODE_ENV: &str = "NODE_ENV";
/// The path of LibreChat's other configuration file, and its default.
const CONFIG_PATH: &str = "CONFIG_PATH";
const CONFIG: &str = "librechat.yaml";

/// The environment, captured once: the process's variables, and those of the files that it lacks.
pub struct Env {
    values: BTreeMap<String, (OsString, Place)>,
    places: Vec<Place>,
    mistakes: Vec<Mistake>,
}

impl Env {
    /// Captures the process environment, and `.env.development` and `.env` in the working
    /// directory. The process wins over both files, and `.env.development`, which is not read in
    /// production, over `.env`.
    #[must_use]
    pub fn capture() -> Self {
        let process =
            env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self::over_files(process, Path::new(""))
    }

    /// A made-up environment, for tests.
    pub fn from_pairs<N: Into<String>, V: Into<OsString>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut env = Self {
            values: BTreeMap::new(),
            places: vec![Place::Environment],
            mistakes: Vec::new(),
        };
        let pairs = pairs.into_iter();
        env.add(
            pairs.map(|(name, value)| (name.into(), value.into())),
            Place::Environment,
        );
        env
    }

    fn over_files(process: impl Iterator<Item = (String, OsString)>, directory: &Path) -> Self {
        let mut env = Self::from_pairs(process);
        let mut file = Self::from_pairs::<String, OsString>([]);
        file.add_file(directory, FILE);
        let node_env = env.get(NODE_ENV).or_else(|| file.get(NODE_ENV));
        if node_env.is_none_or(|value| value.to_string_lossy().trim() != "production") {
            env.add_file(directory, DEVELOPMENT_FILE);
        }
        env.add_file(directory, FILE);
        env.heed_config(directory);
        env
    }

    /// An address in the place of a path is not asked: nothing there can be read at the start.
    fn heed_config(&mut self, directory: &Path) {
        let path = self.get(CONFIG_PATH).filter(|path| !path.is_empty());
        let path = path.map_or_else(|| CONFIG.into(), PathBuf::from);
        let social_login = self.get("ALLOW_SOCIAL_LOGIN");
        let openid = self.has_value("OPENID_ISSUER")
            && social_login.is_some_and(|value| value.to_string_lossy().trim() == "true");
        if let Some(fault) = librechat_yaml::fault(&directory.join(path), openid) {
            self.mistakes.push(Mistake::new(CONFIG, fault));
        }
    }

    /// Adds what is not there yet; within one place, the last value of a name counts.
    fn add(&mut self, pairs: impl Iterator<Item = (String, OsString)>, place: Place) {
        for (name, value) in pairs {
            let entry = self.values.entry(name);
            let (there, found_in) = entry.or_insert_with(|| (value.clone(), place));
            if *found_in == place {
                *there = value;
            }
        }
    }

    fn add_file(&mut self, directory: &Path, name: &'static str) {
        let place = Place::File(name);
        let text = match file::read_text(&directory.join(name)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let description = format!("cannot be read: {error}");
                return self.mistakes.push(Mistake::new(name, description));
            }
        };
        let (pairs, bad_lines) = dotenv::parse(&text);
        let mistake = |line| Mistake::new(name, format!("line {line} is not NAME=value"));
        self.mistakes.extend(bad_lines.into_iter().map(mistake));
        self.places.push(place);
        let pairs = pairs.into_iter();
        self.add(pairs.map(|(name, value)| (name, value.into())), place);
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsString> {
        self.values.get(name).map(|(value, _)| value)
    }

    /// Where a setting was found.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.values.get(name).map(|(_, place)| *place)
    }

    /// Where settings were looked for, if there is such a file.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Whether a name has a value that is not blank.
    pub(super) fn has_value(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !value.to_string_lossy().trim().is_empty())
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
    use std::fs;

    use super::*;

    fn pair(name: &str, value: &str) -> (String, OsString) {
        (name.to_owned(), value.into())
    }

    #[test]
    fn the_environment_wins_over_the_files_and_development_over_the_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name, text| fs::write(directory.path().join(name), text).expect("written");
        write(FILE, "A=file\nB=file\nC=file\nC=again\noops\n");
        write(DEVELOPMENT_FILE, "A=development\nB=development\n");
        let capture =
            |pairs: &[(String, OsString)]| Env::over_files(pairs.iter().cloned(), directory.path());

        let env = capture(&[pair("A", "process")]);
        assert_eq!(env.get("A"), Some(&"process".into()));
        assert_eq!(env.get("B"), Some(&"development".into()));
        assert_eq!(env.place("B"), Some(Place::File(DEVELOPMENT_FILE)));
        assert_eq!(env.get("C"), Some(&"again".into()));
        assert_eq!(
            env.mistakes(),
            [Mistake::new(FILE, "line 5 is not NAME=value")]
        );

        let production = capture(&[pair(NODE_ENV, "production")]);
        assert_eq!(production.get("B"), Some(&"file".into()));
        write(FILE, "B=file\nNODE_ENV=production\n");
        assert_eq!(capture(&[]).get("B"), Some(&"file".into()));
        let development = capture(&[pair(NODE_ENV, "development")]);
        assert_eq!(development.get("B"), Some(&"development".into()));
    }

    #[test]
    fn a_missing_file_is_fine_but_an_unreadable_one_is_a_mistake() {
        let directory = tempfile::tempdir().expect("a directory");
        let capture = || Env::over_files(std::iter::empty(), directory.path());
        assert!(capture().mistakes().is_empty());
        fs::create_dir(directory.path().join(FILE)).expect("made");
        assert_eq!(capture().mistakes().len(), 1);
    }
}
