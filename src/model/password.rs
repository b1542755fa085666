//! Passwords as requests carry them; they cannot be printed.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use crate::secret::{ExposeSecret as _, SecretString};

/// In bytes of the normalised text.
const MAX_PASSWORD: usize = 1024;

/// A password that a user presents to sign in.
#[derive(Clone, Debug)]
pub struct Password(SecretString);

impl Password {
    /// Reads a password to be compared.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: String) -> Result<Self, &'static str> {
        let password = Self(text.into());
        if (1..=MAX_PASSWORD).contains(&password.normalized().len()) {
            Ok(password)
        } else {
            Err("must have 1 to 1,024 bytes")
        }
    }

    /// Reads a password to be set, by the rules that cost nothing to check. Whether it is too
    /// easily guessed is found out when it is hashed, because that takes long.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse_new(text: String, min_length: usize) -> Result<Self, Cow<'static, str>> {
        let password = Self(text.into());
        let normalized = password.normalized();
        if normalized.chars().count() < min_length {
            return Err(format!("must have at least {min_length} characters").into());
        }
        if normalized.len() > MAX_PASSWORD {
            return Err("is longer than 1,024 bytes".into());
        }
        if normalized.chars().all(char::is_whitespace) {
            return Err("holds nothing but spaces".into());
        }
        Ok(password)
    }

    /// The text in Unicode's normalisation form C. Limits and hashes use this form, because
    /// keyboards and systems write the same letters in different forms.
    pub fn normalized(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.expose_secret().nfc().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), Cow<'static, str>> {
        Password::parse_new(password.to_owned(), 8).map(drop)
    }

    #[test]
    fn length_is_counted_in_characters_and_bounded_in_bytes() {
        assert_eq!(
            check("Kx9#vT2"),
            Err("must have at least 8 characters".into())
        );
        assert_eq!(
            check(&"é".repeat(513)),
            Err("is longer than 1,024 bytes".into())
        );
        assert_eq!(check("         "), Err("holds nothing but spaces".into()));
        assert_eq!(check("żółw-gęś-łoś-57"), Ok(()));
    }
}
