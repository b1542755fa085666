//! Everything that is wrong with the configuration, reported at once.

use std::fmt;

/// Where a setting was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The environment of the process.
    Environment,
    /// A file in the working directory.
    File(&'static str),
}

impl Place {
    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::File(name) => name,
        }
    }
}

/// What is wrong with one setting, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The setting.
    pub name: String,
    /// What is wrong, as the rest of a sentence that begins with the name.
    pub description: String,
    /// The file that sets it, if it is not set in the environment.
    pub file: Option<&'static str>,
}

impl Mistake {
    pub(super) fn new(name: &str, description: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            description: description.into(),
            file: None,
        }
    }

    /// The same, of a setting that was found there.
    pub(super) fn found(self, place: Option<Place>) -> Self {
        let file = match place {
            Some(Place::File(name)) => Some(name),
            Some(Place::Environment) | None => None,
        };
        Self { file, ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, description) = (&self.name, &self.description);
        match self.file {
            Some(file) => write!(f, "{name} (in {file}) {description}"),
            None => write!(f, "{name} {description}"),
        }
    }
}

/// Everything that is wrong with the configuration; displayed with one mistake per line.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Mistakes {
    /// All of them with the warnings, one of which may be the reason for a mistake: a misspelt name
    /// leaves another one unset.
    #[must_use]
    pub fn with_warnings(&self) -> String {
        let warnings = self.warnings.iter();
        let warnings = warnings.map(|warning| format!("\nwarning: {warning}"));
        format!("{self}{}", warnings.collect::<String>())
    }

    /// All of them in one line, for the log.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let mistakes: Vec<_> = self.mistakes.iter().map(ToString::to_string).collect();
        mistakes.join("; ")
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.mistakes.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// The settings that were found in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub place: Place,
    /// Their names; those with a blank value are marked.
    pub names: Vec<String>,
}

/// Collects mistakes and warnings.
#[derive(Debug, Default)]
pub struct Report {
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
    found: Vec<Found>,
}

impl Report {
    /// Adds a mistake, which keeps the service from starting.
    pub fn mistake(&mut self, name: &str, description: impl Into<String>) {
        self.add(Mistake::new(name, description));
    }

    pub(super) fn add(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    pub(super) fn note_found(&mut self, found: Vec<Found>) {
        self.found = found;
    }

    /// Takes what was found where.
    pub fn take_found(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.found)
    }

    /// Adds a warning for the administrator.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// The warnings, if there is no mistake.
    ///
    /// # Errors
    /// All mistakes.
    pub fn finish(self) -> Result<Vec<String>, Mistakes> {
        if self.mistakes.is_empty() {
            Ok(self.warnings)
        } else {
            Err(Mistakes {
                mistakes: self.mistakes,
                warnings: self.warnings,
            })
        }
    }
}

impl From<Vec<Mistake>> for Report {
    fn from(mistakes: Vec<Mistake>) -> Self {
        Self {
            mistakes,
            ..Self::default()
        }
    }
}
