//! URLs: a user's value is percent-encoded and cannot change the authority.

use std::ops::Range;

use ::url::Url;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::sink::Line;
use super::vocabulary::Status;

/// The longest finished URL, in bytes.
pub const MAX_URL_BYTES: usize = 16 * 1024;

/// All characters but the unreserved ones (RFC 3986 section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A URL under construction.
#[derive(Default)]
pub(super) struct UrlLine {
    line: String,
    /// The same URL with an `x` instead of each value.
    baseline: String,
    values: Vec<Range<usize>>,
}

impl UrlLine {
    fn push(&mut self, text: &str, baseline: &str) {
        // A longer URL is refused in the end; not growing it further bounds the work.
        if self.line.len() <= MAX_URL_BYTES {
            self.line.push_str(text);
            self.baseline.push_str(baseline);
        }
    }

    /// Whether this is not a URL, or the values have changed its scheme or authority.
    fn is_changed_by_values(&self) -> bool {
        match (Url::parse(&self.line), Url::parse(&self.baseline)) {
            (Ok(url), Ok(baseline)) => authority(&url) != authority(&baseline),
            _ => true,
        }
    }

    /// Whether the authority still contains a placeholder (the WHATWG parser accepts braces in some
    /// hosts), or the URL a control character, which parsers drop.
    fn is_ambiguous(&self) -> bool {
        let authority = &self.line[..path_start(&self.line).unwrap_or(self.line.len())];
        authority.contains(['{', '}']) || self.line.contains(char::is_control)
    }

    /// Whether a value has become part of a `.` or `..` segment.
    fn has_dots_from_values(&self) -> bool {
        let Some(start) = path_start(&self.line) else {
            return false;
        };
        let mut from = start;
        let path = self.line[start..]
            .split(['?', '#'])
            .next()
            .unwrap_or_default();
        path.split(['/', '\\']).any(|segment| {
            let span = from..=from + segment.len();
            from = span.end() + 1;
            is_dots(segment)
                && self
                    .values
                    .iter()
                    .any(|v| span.contains(&v.start) && span.contains(&v.end))
        })
    }
}

impl Line for UrlLine {
    fn operator(&mut self, text: &str) {
        self.push(text, text);
    }

    fn value(&mut self, value: &str) -> Result<(), Status> {
        let path = path_start(&self.line).ok_or(Status::NotAllowed)?;
        let in_path = !self.line[path..].contains(['?', '#']);
        if in_path && value.split(['/', '\\']).any(is_dots) {
            return Err(Status::UnsafeValue);
        }
        let encoded = utf8_percent_encode(value, RESERVED).to_string();
        self.values
            .push(self.line.len()..self.line.len() + encoded.len());
        self.push(&encoded, "x");
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let too_long = self.line.len() > MAX_URL_BYTES;
        if too_long
            || self.is_changed_by_values()
            || self.is_ambiguous()
            || self.has_dots_from_values()
        {
            return Err(Status::UnsafeValue);
        }
        Ok(self.line)
    }
}

fn authority(url: &Url) -> (&str, &str, Option<&str>, Option<&str>, Option<u16>) {
    (
        url.scheme(),
        url.username(),
        url.password(),
        url.host_str(),
        url.port(),
    )
}

/// Where the path, query or fragment begins; `None` if scheme and authority are not complete.
///
/// Browsers read `\` as `/` and accept any number of slashes after the scheme, so this does too.
fn path_start(line: &str) -> Option<usize> {
    let scheme = line.find("://")?;
    let part = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    if !line[..scheme].trim_start().bytes().all(part) {
        return None;
    }
    let rest = line[scheme + 3..].trim_start_matches(['/', '\\']);
    let start = line.len() - rest.len();
    rest.find(['/', '\\', '?', '#']).map(|end| start + end)
}

/// Whether a path segment is `.` or `..`, percent-encoded or not.
fn is_dots(segment: &str) -> bool {
    matches!(
        segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
        "." | ".."
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `§` stands for the next value; everything else is the operator's text.
    fn line(template: &str, values: &[&str]) -> Result<String, Status> {
        let mut line = Box::new(UrlLine::default());
        let mut values = values.iter();
        for (i, text) in template.split('§').enumerate() {
            if i > 0 {
                line.value(values.next().expect("a value"))?;
            }
            line.operator(text);
        }
        line.finish()
    }

    #[test]
    fn a_value_is_encoded_per_component() {
        let url = line("https://h.example/§?q=§#§", &["a/b?c", "x&y=z ü", "é#"]);
        assert_eq!(
            url.as_deref(),
            Ok("https://h.example/a%2Fb%3Fc?q=x%26y%3Dz%20%C3%BC#%C3%A9%23")
        );
    }

    #[test]
    fn a_value_is_refused_in_scheme_and_authority() {
        for template in [
            "§://h.example/",
            "§",
            "https:§",
            "https:/§",
            "https://§/",
            "https://h.example§",
            "https://h.§/",
            "https://h.example:§/",
            "https://u:§@h.example/",
            "https:///§/x",
            "https://\\§",
            "/a/§",
            "//h/§",
            "https:\\\\h\\§",
            "mailto:§",
            "a b://h/§",
        ] {
            assert_eq!(
                line(template, &["evil"]),
                Err(Status::NotAllowed),
                "{template}"
            );
        }
    }

    #[test]
    fn a_value_cannot_make_a_dot_segment() {
        for value in [".", "..", "../x", "a/../b", "..\\x"] {
            assert_eq!(
                line("https://h/a/§", &[value]),
                Err(Status::UnsafeValue),
                "{value}"
            );
            assert!(line("https://h/a?q=§", &[value]).is_ok(), "{value}");
        }
        for (template, values) in [
            ("https://h/a/§§/b", &[".", "."][..]),
            ("https://h/a/.§", &["."]),
            ("https://h/a/%2e§?x", &[""]),
            ("https://h/a/§%2E/b", &[""]),
        ] {
            assert_eq!(
                line(template, values),
                Err(Status::UnsafeValue),
                "{template}"
            );
        }
        assert_eq!(
            line("https://h/a/../§", &["b"]).as_deref(),
            Ok("https://h/a/../b")
        );
        assert_eq!(
            line("https://h/§.json", &["..."]).as_deref(),
            Ok("https://h/....json")
        );
    }

    #[test]
    fn the_operators_text_is_not_encoded() {
        assert_eq!(
            line("wss://h.example:8443/a b?x=[1]", &[]).as_deref(),
            Ok("wss://h.example:8443/a b?x=[1]")
        );
    }

    #[test]
    fn anything_but_a_url_is_refused() {
        for template in [
            "",
            "h.example/x",
            "https://",
            "https://{{X}}/",
            "https://${X}",
            "https://h/\n",
            "https://h.example:99999/",
        ] {
            assert_eq!(line(template, &[]), Err(Status::UnsafeValue), "{template}");
        }
        let long = format!("https://h/{}", "a".repeat(MAX_URL_BYTES));
        assert_eq!(line(&long, &[]), Err(Status::UnsafeValue));
    }

    proptest! {
        #[test]
        fn a_value_changes_neither_host_nor_depth_nor_keys(value in "\\PC{0,20}") {
            if let Ok(text) = line("https://h.example:8443/a/§/b?k=§&l=1#f", &[&value, &value]) {
                let url = Url::parse(&text).expect("a URL");
                prop_assert_eq!(url.host_str(), Some("h.example"));
                prop_assert_eq!(url.port(), Some(8443));
                prop_assert_eq!(url.path_segments().map(Iterator::count), Some(3));
                let pairs: Vec<_> = url.query_pairs().into_owned().collect();
                prop_assert_eq!(pairs, vec![("k".to_owned(), value), ("l".to_owned(), "1".to_owned())]);
            }
        }
    }
}
