//! Detects a credential without its secret (`Bearer `), which must not be returned.

use crate::template::batch::Entry;
use crate::template::vocabulary::Sink;

const SCHEMES: [&str; 3] = ["bearer", "basic", "dpop"];

/// How much of the text before a gap is kept, in characters: more than the name of a scheme.
const TAIL: usize = 32;

/// Follows an entry's text and detects a gap where a secret is missing.
pub(super) struct Credential<'a> {
    is_header: bool,
    is_authorization: bool,
    tail: String,
    /// A gap after a scheme's name, until text follows that may be the secret.
    pending: Option<&'a str>,
    /// A gap that left a scheme without a secret.
    bare: Option<&'a str>,
}

impl<'a> Credential<'a> {
    pub(super) fn new(entry: &Entry) -> Self {
        let name = entry.name().rsplit('.').next().unwrap_or_default();
        Self {
            is_header: entry.sink() == Sink::Header,
            is_authorization: name.eq_ignore_ascii_case("authorization"),
            tail: String::new(),
            pending: None,
            bare: None,
        }
    }

    /// Follows text that was written.
    pub(super) fn text(&mut self, text: &str) {
        let Some(first) = text.chars().next() else {
            return;
        };
        if let Some(source) = self.pending.take().filter(|_| !first.is_alphanumeric()) {
            self.bare.get_or_insert(source);
        }
        self.tail.push_str(text);
        if let Some((cut, _)) = self.tail.char_indices().nth_back(TAIL - 1) {
            self.tail.drain(..cut);
        }
    }

    /// Follows a placeholder that became empty text.
    pub(super) fn gap(&mut self, source: &'a str, is_token: bool) {
        let mut word = self.tail.trim_end();
        if self.is_authorization {
            // `Bearer:` is not a scheme, but whoever writes it means `Bearer`.
            word = word.trim_end_matches(':').trim_end();
        }
        let last = word
            .rsplit(|c: char| c.is_whitespace() || ":='\"".contains(c))
            .next()
            .unwrap_or_default();
        let follows_scheme = SCHEMES
            .iter()
            .any(|scheme| scheme.eq_ignore_ascii_case(last));
        let stands_alone =
            word.is_empty() && (self.is_authorization || (self.is_header && is_token));
        let one_word = !word.is_empty() && word == last && word.len() < self.tail.len();
        if follows_scheme || stands_alone || (self.is_authorization && one_word) {
            self.pending.get_or_insert(source);
        }
    }

    /// The placeholder whose gap leaves a credential without its secret, if there is one.
    pub(super) fn bare(&self) -> Option<&'a str> {
        self.bare.or(self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::batch::Scope;

    /// `§` is an empty placeholder, `¤` an empty token.
    fn is_bare(name: &str, text: &str) -> bool {
        let mut credential =
            Credential::new(&Entry::new(name.to_owned(), "", Sink::Header, Scope::Full));
        for piece in text.split_inclusive(['§', '¤']) {
            credential.text(piece.trim_end_matches(['§', '¤']));
            match piece.chars().last() {
                Some('§') => credential.gap("gap", false),
                Some('¤') => credential.gap("gap", true),
                _ => {}
            }
        }
        credential.bare().is_some()
    }

    #[test]
    fn a_scheme_without_a_secret_is_bare() {
        for text in [
            "Bearer §",
            "bearer  ¤ ",
            "Basic §",
            "DPoP §",
            "x; auth=Bearer §",
            "Bearer §§",
            "\"Bearer §\"",
        ] {
            assert!(is_bare("X", text), "{text}");
        }
    }

    #[test]
    fn a_scheme_with_a_secret_is_not() {
        for text in [
            "Bearer §x",
            "Bearer x§",
            "Hello §",
            "§",
            "forbearer §",
            "Bearer x y §",
        ] {
            assert!(!is_bare("X", text), "{text}");
        }
    }

    #[test]
    fn in_an_authorization_header_any_word_is_a_scheme() {
        for text in ["Token §", "§", "¤ ", "Bearer: §", "Bearer:¤", "Token: §"] {
            assert!(is_bare("headers.authorization", text), "{text}");
        }
        for text in ["abc§", "Token abc§", "Token abc §"] {
            assert!(!is_bare("headers.authorization", text), "{text}");
        }
    }

    #[test]
    fn a_header_that_is_only_a_token_is_bare_without_it() {
        assert!(is_bare("X-Api-Key", "¤"));
        assert!(!is_bare("X-Api-Key", "v1-¤"));
    }
}
