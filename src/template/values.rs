//! What answers placeholders.

use std::borrow::Cow;

use super::vocabulary::{Placeholder, Status};

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

/// Where values come from, fetched beforehand by what [`super::batch::Batch::needs`] tells.
pub trait Values {
    /// Answers a placeholder, the same each time it is asked within a call.
    ///
    /// An absent USER or BODY field is empty text; BODY without a body is `Missing`. A custom name that is no
    /// variable of the request is `UnknownName` and stays text. `${NAME}` outside the list is `NotAllowed`.
    /// Reserved names are never asked. Empty tokens and empty `${NAME}` count as missing.
    fn value(&self, placeholder: &Placeholder) -> Value<'_>;
}
