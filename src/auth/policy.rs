//! Which new passwords are too easily guessed.

/// The estimate's time grows with the cube of the length and worse, and what is guessable shows at the beginning.
const ESTIMATED_CHARS: usize = 32;

/// Shorter words are in too many others.
const SHORTEST_WORD: usize = 3;
/// Letters and digits that a password has to have besides the account's words.
const LEAST_OWN: usize = 4;

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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_passphrase_needs_no_special_characters() {
        assert!(!guessable("kestrel lantern orbit meadow"));
        assert!(!guessable("annexed lanterns"));
        assert!(!guessable("żółw-gęś-łoś-57"));
    }
}
