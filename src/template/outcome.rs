//! How a call wants its templates resolved, and what became of them.

use std::collections::BTreeSet;
use std::fmt;

use super::vocabulary::{OnUnresolved, Placeholder, Status};

/// How one call wants its placeholders treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolveOptions {
    pub on_unresolved: OnUnresolved,
    /// The templates come from a user: custom variables alone resolve (`LibreChat`'s `dbSourced`).
    pub user_authored: bool,
}

/// What became of one placeholder of one entry; never a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub entry: String,
    /// The placeholder as it was written; empty where the finished value itself is unsafe.
    pub placeholder: String,
    pub status: Status,
}

/// The values of one call, in the order of its entries.
pub struct Rendered {
    /// `None` is an entry to leave out.
    pub values: Vec<Option<String>>,
    pub outcomes: Vec<Outcome>,
    /// The user's tokens that the values hold.
    pub released: BTreeSet<Placeholder>,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered")
            .field("outcomes", &self.outcomes)
            .finish_non_exhaustive()
    }
}

/// Why nothing is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenderError {
    /// Every placeholder of every entry that keeps the call from being answered.
    Unresolved(Vec<Outcome>),
    /// The values weigh more than 4 MiB.
    OutputTooLarge,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(failed) => write!(f, "{} placeholders are unresolved", failed.len()),
            Self::OutputTooLarge => f.write_str("the values weigh more than 4 MiB"),
        }
    }
}

impl std::error::Error for RenderError {}
