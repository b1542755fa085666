//! Header names and values.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::sink::Line;
use super::vocabulary::Status;

/// The longest finished header value, in bytes: servers commonly refuse longer ones.
pub const MAX_VALUE_BYTES: usize = 16 * 1024;

/// The prefix of an encoded value.
const ENCODED: &str = "b64:";

/// Headers that only the client which makes the connection may set.
const RESERVED: [&str; 8] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
];

/// Checks the name of a header: a token (RFC 9110 section 5.1) that does not control the
/// connection. The error says what is wrong with the name without repeating it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        Err("the name of a header must be a token (RFC 9110 section 5.1)")
    } else if RESERVED.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        Err("this header controls the connection and cannot be set")
    } else {
        Ok(())
    }
}

/// Whether a header holds a credential, as far as its name tells.
pub fn is_credential(name: &str) -> bool {
    let fold = |b: &u8| {
        if *b == b'_' {
            b'-'
        } else {
            b.to_ascii_lowercase()
        }
    };
    let ends = ["authorization", "cookie", "api-key", "apikey", "token"];
    ends.iter().any(|end| {
        let Some((rest, last)) = name
            .len()
            .checked_sub(end.len())
            .map(|at| name.as_bytes().split_at(at))
        else {
            return false;
        };
        last.iter().map(fold).eq(end.bytes()) && rest.last().is_none_or(|b| fold(b) == b'-')
    })
}

/// The headers whose names differ from an earlier one only by case.
pub fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    names
        .filter(|name| !seen.insert(name.to_ascii_lowercase()))
        .collect()
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Encodes a value as `LibreChat`'s `encodeHeaderValue` does: `b64:` and the base64 of its UTF-8
/// bytes if it has characters beyond Latin-1. A value that begins with `b64:` itself is encoded
/// too, so that a user cannot forge an encoded value. `None` if the value needs no encoding.
pub fn encode_value(value: &str) -> Option<String> {
    (is_beyond_latin1(value) || value.trim_start_matches(' ').starts_with(ENCODED))
        .then(|| encode(value))
}

fn encode(value: &str) -> String {
    format!("{ENCODED}{}", STANDARD.encode(value))
}

fn is_beyond_latin1(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(|c| c > '\u{ff}')
}

/// Whether the text has a control character. It checks every byte: for a token, that is
/// several times faster than stopping at the first match.
fn has_control(text: &str) -> bool {
    let c0_or_del = text
        .bytes()
        .fold(false, |found, b| found | b.is_ascii_control());
    c0_or_del || (!text.is_ascii() && text.contains(char::is_control))
}

/// A header value under construction.
///
/// Control characters (C0 including the tab, DEL, C1) are refused anywhere, and spaces around the
/// finished value are removed. If the template's own text has characters beyond Latin-1, the whole
/// value is encoded at once instead of its parts.
#[derive(Default)]
pub(super) struct HeaderLine {
    line: String,
    /// The same value without any encoding.
    raw: String,
    refused: bool,
    /// Whether the whole value must be encoded at once.
    encode_whole: bool,
    /// Whether the first visible text may begin with `b64:`: if the operator wrote it, or it was
    /// encoded here.
    prefix_is_genuine: Option<bool>,
}

impl HeaderLine {
    fn push(&mut self, text: &str, raw: &str, genuine: bool) {
        self.line.push_str(text);
        self.raw.push_str(raw);
        if !text.trim_matches(' ').is_empty() {
            self.prefix_is_genuine.get_or_insert(genuine);
        }
    }
}

impl Line for HeaderLine {
    fn operator(&mut self, text: &str) {
        self.refused |= has_control(text);
        self.encode_whole |= is_beyond_latin1(text);
        self.push(
            text,
            text,
            text.trim_start_matches(' ').starts_with(ENCODED),
        );
    }

    fn value(&mut self, value: &str) -> Result<(), Status> {
        if has_control(value) {
            return Err(Status::UnsafeValue);
        }
        match encode_value(value) {
            Some(encoded) => self.push(&encoded, value, true),
            None => self.push(value, value, false),
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let trimmed = self.line.trim_matches(' ');
        // Several values may make up a `b64:` together.
        let forged = trimmed.starts_with(ENCODED) && self.prefix_is_genuine == Some(false);
        let value = if self.encode_whole || forged {
            encode(self.raw.trim_matches(' '))
        } else {
            trimmed.to_owned()
        };
        if self.refused || value.len() > MAX_VALUE_BYTES {
            Err(Status::UnsafeValue)
        } else {
            Ok(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(parts: &[(&str, bool)]) -> Result<String, Status> {
        let mut line = Box::new(HeaderLine::default());
        for (text, operator) in parts {
            if *operator {
                line.operator(text);
            } else {
                line.value(text)?;
            }
        }
        line.finish()
    }

    #[test]
    fn a_header_that_controls_the_connection_cannot_be_set() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Keep-Alive",
            "TE",
            "Trailer",
            "Upgrade",
            "Proxy-Authorization",
            "proxy-x",
            ":authority",
            "",
            "X Y",
            "X\r\nY",
            "X:Y",
            "Ü",
            "{{X}}",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in [
            "Authorization",
            "X-Api-Key",
            "x_y",
            "Hostess",
            "anthropic-beta",
        ] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn a_header_of_a_credential_is_known_by_its_name() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "COOKIE",
            "api-key",
            "X-Api-Key",
            "x_api_key",
            "x-goog-api-key",
            "X-Auth-Token",
            "token",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in ["X-User", "X-Tokens", "X-Key", "Cookies", "X-Monkey", ""] {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn values_are_encoded_as_librechat_does() {
        assert_eq!(encode_value("José"), None);
        assert_eq!(encode_value("Marić").as_deref(), Some("b64:TWFyacSH"));
        assert_eq!(encode_value("Đorđe").as_deref(), Some("b64:xJBvcsSRZQ=="));
        assert_eq!(encode_value("山田").as_deref(), Some("b64:5bGx55Sw"));
        assert_eq!(
            line(&[("Hi ", true), ("山田", false)]).as_deref(),
            Ok("Hi b64:5bGx55Sw")
        );
    }

    #[test]
    fn a_value_that_looks_encoded_is_encoded() {
        assert_eq!(
            line(&[("b64:QQ==", false)]).as_deref(),
            Ok("b64:YjY0OlFRPT0=")
        );
        assert_eq!(
            line(&[("b6", false), ("4:QQ==", false)]).as_deref(),
            Ok("b64:YjY0OlFRPT0=")
        );
        assert!(line(&[(" b64:QQ==", false)]).is_ok_and(|value| value != "b64:QQ=="));
        assert_eq!(line(&[("b64:QQ==", true)]).as_deref(), Ok("b64:QQ=="));
    }

    #[test]
    fn the_operators_text_beyond_latin1_is_encoded_with_all_that_follows() {
        assert_eq!(line(&[("→", true), ("Marić", false)]), Ok(encode("→Marić")));
    }

    #[test]
    fn no_control_character_enters_a_header() {
        for c in ["\r", "\n", "\0", "\t", "\u{7f}", "\u{85}", "\u{9f}"] {
            assert_eq!(
                line(&[(&format!("a{c}b"), false)]),
                Err(Status::UnsafeValue)
            );
            assert_eq!(line(&[(&format!("a{c}b"), true)]), Err(Status::UnsafeValue));
            assert_eq!(
                line(&[(&format!("山{c}"), false)]),
                Err(Status::UnsafeValue)
            );
        }
    }

    #[test]
    fn spaces_around_the_finished_value_are_cut() {
        assert_eq!(
            line(&[("  a ", true), (" b  ", false)]).as_deref(),
            Ok("a  b")
        );
    }

    #[test]
    fn a_header_has_16_kibibytes_at_most() {
        let full = "a".repeat(MAX_VALUE_BYTES);
        assert_eq!(line(&[(&full, false)]), Ok(full.clone()));
        assert_eq!(
            line(&[(&full, false), ("a", true)]),
            Err(Status::UnsafeValue)
        );
    }

    proptest! {
        #[test]
        fn what_leaves_is_visible_latin1(before in ".{0,20}", value in ".{0,20}") {
            if let Ok(text) = line(&[(&before, true), (&value, false)]) {
                let fine = !is_beyond_latin1(&text) && !text.contains(char::is_control);
                prop_assert!(fine, "{text:?}");
            }
        }

        #[test]
        fn a_single_value_comes_back_as_it_was(value in "[ -~\u{a0}-\u{ff}ćĐ山]{0,20}") {
            let sent = line(&[(&value, false)]).expect("visible characters");
            let read = match sent.strip_prefix(ENCODED) {
                Some(encoded) => STANDARD.decode(encoded).expect("base64"),
                None => sent.into_bytes(),
            };
            let read = String::from_utf8(read).expect("UTF-8");
            prop_assert_eq!(read.trim_matches(' '), value.trim_matches(' '));
        }
    }
}
