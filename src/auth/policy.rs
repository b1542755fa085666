//! What a new account's fields have to look like.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use crate::secret::{ExposeSecret as _, SecretString};

/// In bytes.
pub(super) const MAX_PASSWORD: usize = 1024;
/// The estimate's time grows with the cube of the length and worse, and what is guessable shows at the beginning.
const ESTIMATED_CHARS: usize = 32;

/// Shorter words are in too many others.
const SHORTEST_WORD: usize = 3;
/// Letters and digits that a password has to have besides the account's words.
const LEAST_OWN: usize = 4;

/// What can be told of a new password at no cost. A good one still has to pass [`is_guessable`].
pub(super) fn check_password(
    password: &SecretString,
    min_length: usize,
) -> Result<(), Cow<'static, str>> {
    let text: String = password.expose_secret().nfc().collect();
    let length = text.chars().count();
    if length < min_length {
        return Err(format!("must have at least {min_length} characters").into());
    }
    if text.len() > MAX_PASSWORD {
        return Err("is longer than 1,024 bytes".into());
    }
    if text.chars().all(char::is_whitespace) {
        return Err("holds nothing but spaces".into());
    }
    Ok(())
}

/// Whether a new password is too common, or too close to the account's names. It takes long: the names have to be bounded, and the place is
/// the pool of [`super::password::Passwords`].
pub(super) fn is_guessable(password: &str, names: &[&str]) -> bool {
    is_common(password, names) || is_derived(password, names)
}

/// Fewer than 10^6 guesses by zxcvbn's estimate, which knows common passwords and the account's names.
fn is_common(password: &str, names: &[&str]) -> bool {
    let head: String = password.chars().take(ESTIMATED_CHARS).collect();
    zxcvbn::zxcvbn(&head, &words(names).collect::<Vec<_>>()).score() <= zxcvbn::Score::One
}

/// Whether little is left of it without the words of the account's names and ours.
fn is_derived(password: &str, names: &[&str]) -> bool {
    let mut words: Vec<String> = words(names)
        .filter(|word| word.len() >= SHORTEST_WORD)
        .map(str::to_lowercase)
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(password.to_lowercase(), |rest, word| {
        rest.replace(word.as_str(), "")
    });
    rest.chars().filter(|c| c.is_alphanumeric()).count() < LEAST_OWN
}

/// The words of the account's names, and ours.
fn words<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let parts = names.iter().flat_map(|name| {
        name.split(|c: char| !c.is_alphanumeric())
            .chain(name.split('@'))
            .chain([*name])
    });
    parts
        .chain(["countersign", "librechat"])
        .filter(|part| !part.is_empty())
}

/// A display name: 3 to 80 characters, none of them a control character.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    match name.chars().count() {
        3..=80 if !name.chars().any(char::is_control) && !name.trim().is_empty() => Ok(()),
        3..=80 => Err("must not be blank or hold control characters"),
        _ => Err("must have 3 to 80 characters"),
    }
}

/// A handle: empty, or 2 to 80 characters without spaces at the ends and control characters; the canonical form is lower case.
pub(super) fn canonical_username(username: &str) -> Result<String, &'static str> {
    match username.chars().count() {
        0 => Ok(String::new()),
        2..=80 if username.trim() == username && !username.chars().any(char::is_control) => {
            Ok(username.to_lowercase())
        }
        2..=80 => Err("must not begin or end with a space or hold control characters"),
        _ => Err("must have 2 to 80 characters, or be left out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(password: &str) -> Result<(), Cow<'static, str>> {
        check_password(&SecretString::from(password), 8)
    }

    fn guessable(password: &str) -> bool {
        is_guessable(
            password,
            &["ann.example@example.com", "Ann Example", "annex"],
        )
    }

    #[test]
    fn common_and_account_derived_passwords_are_refused() {
        for weak in [
            "password",
            "Password1",
            "12345678",
            "qwertyuiop",
            "annexample",
            "Ann.Example",
            "countersign",
            "aaaaaaaaaaaa",
            "Example@Annex-57!",
        ] {
            assert!(guessable(weak), "{weak}");
        }
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

    #[test]
    fn a_passphrase_needs_no_special_characters() {
        assert!(!guessable("kestrel lantern orbit meadow"));
        assert!(!guessable("annexed lanterns"));
        assert!(!guessable("żółw-gęś-łoś-57"));
    }

    #[test]
    fn usernames_are_lower_case() {
        assert_eq!(canonical_username("AnnEx").as_deref(), Ok("annex"));
        assert!(canonical_username("a").is_err());
        assert!(canonical_username("a\nb").is_err());
    }
}
