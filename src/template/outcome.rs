//! How the templates of a call are to be resolved, and the outcome.

use std::collections::BTreeSet;
use std::fmt;

use super::vocabulary::{OnUnresolved, Placeholder, Status};

/// How the placeholders of one call are to be resolved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolveOptions {
    pub on_unresolved: OnUnresolved,
    /// Whether the templates come from a user: then only custom variables resolve (`LibreChat`'s
    /// `dbSourced`).
    pub user_authored: bool,
}

/// The outcome of one placeholder of one entry, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub entry: String,
    /// The placeholder as it was written; empty if the finished value as a whole is unsafe.
    pub placeholder: String,
    pub status: Status,
}

/// The values of one call, in the order of its entries.
pub struct Rendered {
    /// `None` for an entry that is left out.
    pub values: Vec<Option<String>>,
    pub outcomes: Vec<Outcome>,
    /// The user's tokens that the values contain.
    pub released: BTreeSet<Placeholder>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("outcomes", &self.outcomes)
            .finish_non_exhaustive()
    }
}

/// Why a call returns no values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// Every placeholder, of every entry, that makes the call fail.
    Unresolved(Vec<Outcome>),
    /// The values and outcomes have more than 4 MiB.
    OutputTooLarge,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(failed) => write!(f, "{} placeholders are unresolved", failed.len()),
            Self::OutputTooLarge => f.write_str("the values and outcomes have more than 4 MiB"),
        }
    }
}

impl std::error::Error for RenderError {}
