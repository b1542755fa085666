//! Where the templates of an object are, and what is wrong with its shape.

use std::borrow::Cow;

/// A field that has a wrong shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// The path in the object (`headers.X-Name`); empty for the object itself.
    pub field: String,
    pub description: Cow<'static, str>,
}

/// The place of a template in the object, to which its value is written.
pub(super) enum Slot {
    Field(&'static str),
    Member(&'static str, String),
    Element(&'static str, usize),
    /// A field that the object lacks. No value is written to it.
    Absent(&'static str),
}

impl Slot {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Field(field) | Self::Absent(field) => (*field).to_owned(),
            Self::Member(field, key) => format!("{field}.{key}"),
            Self::Element(field, index) => format!("{field}[{index}]"),
        }
    }
}
