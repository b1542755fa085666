//! All mistakes of a request, so that one answer names them all.

use crate::error::{Error, FieldError, Result};

/// Names the field of a request whose value a command was refused for; other errors stay as they
/// are.
pub(super) fn in_field(field: &str, error: Error) -> Error {
    let description = match error {
        Error::PasswordGuessable => "is too common, or too close to the account's own names",
        Error::OutputTooLarge => "resolves to more than 4 MiB, outcomes included",
        Error::ExchangedTooOften => "was exchanged five times already, one after another",
        _ => return error,
    };
    FieldErrors::one(field, description)
}

/// Collects what is wrong with the fields of a request.
#[derive(Debug, Default)]
pub(super) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// The error of one field.
    pub(super) fn one(field: &str, description: &str) -> Error {
        let mut errors = Self::default();
        errors.add(field, description);
        errors.into_error()
    }

    pub(super) fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.0.push(FieldError {
            field: field.into(),
            description: description.into(),
        });
    }

    /// The value; or `None`, and what is wrong with it is noted.
    pub(super) fn check<T>(
        &mut self,
        field: &str,
        result: Result<T, impl Into<String>>,
    ) -> Option<T> {
        result
            .map_err(|description| self.add(field, description))
            .ok()
    }

    /// Builds the command from its fields, if nothing is wrong with any of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] with all of them.
    pub(super) fn build<T>(self, make: impl FnOnce() -> Option<T>) -> Result<T> {
        if self.0.is_empty()
            && let Some(made) = make()
        {
            return Ok(made);
        }
        Err(self.into_error())
    }

    /// The error that names them all.
    pub(super) fn into_error(self) -> Error {
        Error::Invalid(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_about_a_field_name_it() {
        for about in [
            Error::PasswordGuessable,
            Error::OutputTooLarge,
            Error::ExchangedTooOften,
        ] {
            let Error::Invalid(fields) = in_field("server", about) else {
                panic!("not about a field")
            };
            assert_eq!(fields[0].field, "server");
        }
        assert!(matches!(
            in_field("server", Error::EmailInUse),
            Error::EmailInUse
        ));
    }
}
