//! Where the templates of an object stand, and what is wrong with its shape.

/// A field that has not the shape it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError {
    /// The path in the object (`headers.X-Name`).
    pub field: String,
    pub description: &'static str,
}

/// Where a value goes back.
pub(super) enum Slot {
    Field(&'static str),
    Member(&'static str, String),
    Element(&'static str, usize),
}

impl Slot {
    pub(super) fn path(&self) -> String {
        match self {
            Self::Field(field) => (*field).to_owned(),
            Self::Member(field, key) => format!("{field}.{key}"),
            Self::Element(field, index) => format!("{field}[{index}]"),
        }
    }
}
