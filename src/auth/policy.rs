//! Which new passwords are too easily guessed.

/// How many characters are estimated. The time grows with the cube of the length or faster, and a
/// guessable password shows in its first characters.
const ESTIMATED_CHARS: usize = 32;

/// Shorter words are not removed from a password, because they occur in too many others.
const SHORTEST_WORD: usize = 3;
/// How many letters and digits a password needs besides the account's words.
const MIN_OWN_CHARS: usize = 4;

/// Whether a new password is too common, or too close to the account's names. This is slow: the
/// length of the names has to be bounded, and it has to run in the pool of
/// [`super::password::Passwords`].
pub(super) fn is_guessable(password: &str, names: &[&str]) -> bool {
    is_common(password, names) || is_derived(password, names)
}

/// Whether zxcvbn, which knows common passwords and gets the account's names, estimates fewer than
/// 10^6 guesses.
fn is_common(password: &str, names: &[&str]) -> bool {
    let head: String = password.chars().take(ESTIMATED_CHARS).collect();
    zxcvbn::zxcvbn(&head, &words(names).collect::<Vec<_>>()).score() <= zxcvbn::Score::One
}

/// Whether too little of the password is left without the words of the account's names and our own.
fn is_derived(password: &str, names: &[&str]) -> bool {
    let mut words: Vec<String> = words(names)
        .filter(|word| word.len() >= SHORTEST_WORD)
        .map(str::to_lowercase)
        .collect();
    // The longest first, because removing a short word could break up a longer one that contains
    // it.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(password.to_lowercase(), |rest, word| {
        rest.replace(word.as_str(), "")
    });
    rest.chars().filter(|c| c.is_alphanumeric()).count() < MIN_OWN_CHARS
}

/// The words of the account's names, and our own.
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
