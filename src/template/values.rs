//! Where the values of placeholders come from.

use std::borrow::Cow;

use super::vocabulary::{Placeholder, Status};

/// The value of one placeholder. It has no `Debug`, because every value counts as secret.
pub enum Value<'a> {
    Text(Cow<'a, str>),
    /// Why there is no value.
    Unresolved(Status),
}

impl<'a> Value<'a> {
    /// The value of a field of an account or a body; an absent field is empty text.
    pub fn field(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        Self::Text(value.map_or(Cow::Borrowed(""), Into::into))
    }

    /// A value that is unresolved with the status `Missing` if it is absent.
    pub fn required(value: Option<impl Into<Cow<'a, str>>>) -> Self {
        value.map_or(Self::Unresolved(Status::Missing), |value| {
            Self::Text(value.into())
        })
    }
}

/// The values of one call. What [`super::batch::Batch::needs`] lists must have been fetched before.
pub trait Values {
    /// The value of a placeholder, the same each time within a call.
    ///
    /// An absent USER or BODY field is empty text; BODY without a body is `Missing`. A custom name
    /// that is not a variable of the request is `UnknownName` and stays text if it is not in the
    /// place of a credential; a declared one is `Missing`. A `${NAME}` that is
    /// not listed in the configuration is `NotAllowed`. This is never called with a reserved name.
    /// Empty tokens and an empty `${NAME}` count as missing.
    fn value(&self, placeholder: &Placeholder) -> Value<'_>;
}
