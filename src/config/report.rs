//! Everything that is wrong with the configuration, reported at once.

use std::fmt;

/// What is wrong with one setting, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The setting.
    pub name: String,
    /// What is wrong, as the rest of a sentence that begins with the name.
    pub description: String,
}

impl Mistake {
    pub(super) fn new(name: &str, description: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            description: description.into(),
        }
    }
}

/// Everything that is wrong with the configuration; displayed with one mistake per line.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|mistake| format!("{} {}", mistake.name, mistake.description))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// Collects mistakes and warnings.
#[derive(Debug, Default)]
pub struct Report {
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Report {
    /// Adds a mistake, which keeps the service from starting.
    pub fn mistake(&mut self, name: &str, description: impl Into<String>) {
        self.mistakes.push(Mistake::new(name, description));
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
            Err(Mistakes(self.mistakes))
        }
    }
}

impl From<Vec<Mistake>> for Report {
    fn from(mistakes: Vec<Mistake>) -> Self {
        Self {
            mistakes,
            warnings: Vec::new(),
        }
    }
}
