//! Detects where a credential stands, and a credential without its secret (`Bearer `), which must
//! not be returned.

use crate::template::batch::{Entry, Place};
use crate::template::vocabulary::Sink;

const SCHEMES: [&str; 3] = ["bearer", "basic", "dpop"];

/// How much of the text at the beginning and before a gap is kept, in characters: more than the
/// name of a scheme.
const TAIL: usize = 32;

/// Follows an entry's text, and detects where a secret is expected and where it is missing.
pub(super) struct Credential<'a> {
    is_header: bool,
    is_authorization: bool,
    /// Whether the whole entry is a credential.
    holds_secret: bool,
    /// The beginning of the text, without white space before it.
    head: String,
    tail: String,
    /// A gap after a scheme's name, until text follows that may be the secret.
    pending: Option<&'a str>,
    /// A gap that left a scheme without a secret.
    bare: Option<&'a str>,
}

impl<'a> Credential<'a> {
    pub(super) fn new(entry: &Entry) -> Self {
        Self {
            is_header: entry.sink() == Sink::Header,
            is_authorization: entry.own_name().eq_ignore_ascii_case("authorization"),
            holds_secret: entry.place() == Place::Credential,
            head: String::new(),
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
        if self.head.len() < TAIL {
            let text = if self.head.is_empty() {
                text.trim_start()
            } else {
                text
            };
            self.head.extend(text.chars().take(TAIL));
        }
        self.tail.push_str(text);
        if let Some((cut, _)) = self.tail.char_indices().nth_back(TAIL - 1) {
            self.tail.drain(..cut);
        }
    }

    /// Whether what is written next belongs to a credential: the whole entry is one, its text
    /// begins with a scheme, or a scheme stands right before.
    pub(super) fn is_expected(&self) -> bool {
        let mut words = self.head.splitn(2, char::is_whitespace);
        let begins_with_scheme = words.next().is_some_and(is_scheme) && words.next().is_some();
        self.holds_secret || begins_with_scheme || is_scheme(last_word(self.tail.trim_end()))
    }

    /// Follows a placeholder that became empty text.
    pub(super) fn gap(&mut self, source: &'a str, is_token: bool) {
        let mut word = self.tail.trim_end();
        if self.is_authorization {
            // `Bearer:` is not a scheme, but whoever writes it means `Bearer`.
            word = word.trim_end_matches(':').trim_end();
        }
        let last = last_word(word);
        let stands_alone = word.is_empty() && (self.holds_secret || (self.is_header && is_token));
        let one_word = !word.is_empty() && word == last && word.len() < self.tail.len();
        if is_scheme(last) || stands_alone || (self.is_authorization && one_word) {
            self.pending.get_or_insert(source);
        }
    }

    /// The placeholder whose gap leaves a credential without its secret, if there is one.
    pub(super) fn bare(&self) -> Option<&'a str> {
        self.bare.or(self.pending)
    }
}

fn is_scheme(word: &str) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| scheme.eq_ignore_ascii_case(word))
}

fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| c.is_whitespace() || ":='\"".contains(c))
        .next()
        .unwrap_or_default()
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
    fn a_credential_is_expected_in_its_headers_and_after_a_scheme() {
        let expected = |name: &str, text: &str| {
            let entry = Entry::new(name.to_owned(), "", Sink::Header, Scope::Full);
            let mut credential = Credential::new(&entry);
            for piece in text.split_inclusive('|') {
                credential.text(piece.trim_end_matches('|'));
            }
            credential.is_expected()
        };
        for (name, text) in [
            ("headers.Cookie", "a=b; c="),
            ("X-Api-Key", ""),
            ("X", "Bearer "),
            ("X", " |be|arer| v1."),
            ("X", "Basic a b c"),
            ("X", "key=\"dpop "),
            ("X", "Authorization: Bearer"),
        ] {
            assert!(expected(name, text), "{name} {text}");
        }
        for text in ["", "bearers ", "a Bearer of ", "b: ", "Basically "] {
            assert!(!expected("X", text), "{text}");
        }
    }

    #[test]
    fn a_header_that_is_only_a_token_is_bare_without_it() {
        assert!(is_bare("X-Api-Key", "¤"));
        assert!(!is_bare("X-Api-Key", "v1-¤"));
    }
}
