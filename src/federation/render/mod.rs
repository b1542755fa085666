//! One pass from templates to values: what is inserted is never read again.

mod attempt;
mod credential;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use self::attempt::Attempt;
use super::request::Request;
use super::vocabulary::{OnUnresolved, Placeholder, Status};

/// The most that all values of one call may weigh, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

/// The answer to one placeholder; it has no `Debug`, every value counts as secret.
pub enum Value<'a> {
    Text(Cow<'a, str>),
    /// Why there is no value.
    Unresolved(Status),
}

impl<'a> Value<'a> {
    /// A field of an account or a body, empty where it is absent.
    #[must_use]
    pub fn field(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        Self::Text(value.map_or(Cow::Borrowed(""), Into::into))
    }

    /// Something that is missing where it is absent.
    #[must_use]
    pub fn required(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        value.map_or(Self::Unresolved(Status::Missing), |value| {
            Self::Text(value.into())
        })
    }
}

/// Where values come from, fetched beforehand by what `Request::needs` tells.
pub trait Values {
    /// Answers a placeholder, the same each time it is asked within a call.
    ///
    /// An absent USER or BODY field is empty text; BODY without a body is `Missing`. A custom name that is no
    /// variable of the request is `UnknownName` and stays text. `${NAME}` outside the list is `NotAllowed`.
    /// Reserved names are never asked. Empty tokens and empty `${NAME}` count as missing.
    fn value(&self, placeholder: &Placeholder) -> Value<'_>;
}

/// How one call wants its placeholders treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
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

impl Request {
    /// Fills in every template.
    ///
    /// # Errors
    /// `Unresolved` with all failing outcomes at once, or `OutputTooLarge`.
    pub fn render(&self, values: &impl Values, options: Options) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered {
            values: Vec::new(),
            outcomes: Vec::new(),
            released: BTreeSet::new(),
        };
        let mut failed = Vec::new();
        let (mut room_in, mut room_out) = (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES);
        for entry in &self.entries {
            let mut attempt = Attempt::new(entry, options);
            for segment in entry.template().segments() {
                let written = attempt.write(segment, values);
                spend(&mut room_in, written)?;
            }
            let end = attempt.finish();
            spend(&mut room_out, end.text.as_ref().map_or(0, String::len))?;
            rendered.values.push(end.text);
            rendered.released.extend(end.released);
            failed.extend(end.failed);
            rendered.outcomes.extend(end.outcomes);
        }
        if failed.is_empty() {
            Ok(rendered)
        } else {
            Err(RenderError::Unresolved(failed))
        }
    }
}

fn spend(room: &mut usize, bytes: usize) -> Result<(), RenderError> {
    *room = room.checked_sub(bytes).ok_or(RenderError::OutputTooLarge)?;
    Ok(())
}
