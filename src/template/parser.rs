//! Parses templates: text with `{{NAME}}` and `${NAME}` in it.

use std::fmt;

use super::vocabulary::{Placeholder, is_reserved};

/// The longest name between braces, in bytes; a longer one is text. It bounds how far the parser
/// looks ahead.
pub const MAX_NAME_BYTES: usize = 256;

/// A template cut into text and placeholders.
///
/// A name contains no braces, so the innermost of nested pairs counts. An unclosed, empty or blank
/// pair is text. `${NAME}` ends at the first `}`. An unclosed `{{LIBRECHAT_…`, whatever its case
/// and the blanks before it, counts as a placeholder that never resolves, because it is probably a
/// misspelt credential.
pub struct Template {
    source_bytes: usize,
    segments: Vec<Segment>,
}

/// A piece of a template.
pub enum Segment {
    Text(String),
    Placeholder {
        /// The placeholder as it was written, braces included.
        source: String,
        placeholder: Placeholder,
    },
}

impl Template {
    /// Parses a template in one pass. This cannot fail: every text is a template.
    pub fn parse(source: &str) -> Self {
        let source_bytes = source.len();
        let segments = Parser::new(source).run();
        Self {
            source_bytes,
            segments,
        }
    }

    /// The segments in order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The length of the template's text, in bytes.
    pub const fn source_bytes(&self) -> usize {
        self.source_bytes
    }

    pub(super) fn placeholders_mut(&mut self) -> impl Iterator<Item = &mut Placeholder> {
        self.segments
            .iter_mut()
            .filter_map(|segment| match segment {
                Segment::Text(_) => None,
                Segment::Placeholder { placeholder, .. } => Some(placeholder),
            })
    }

    /// The placeholders in order, repeats included.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Text(_) => None,
            Segment::Placeholder { placeholder, .. } => Some(placeholder),
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("segments", &self.segments.len())
            .finish_non_exhaustive()
    }
}

/// Checks the name of a custom variable: it must not begin like `LibreChat`'s names nor contain
/// braces. The error says what is wrong with the name without repeating it.
pub fn check_custom_name(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        Err("a custom variable needs a name")
    } else if name.len() > MAX_NAME_BYTES {
        Err("the name of a custom variable may have at most 256 bytes")
    } else if is_reserved(name) {
        Err("names that begin with LIBRECHAT_ are reserved, whatever their case and blanks")
    } else if name.contains(['{', '}']) {
        Err("the name of a custom variable must not contain braces")
    } else {
        Ok(())
    }
}

struct Parser<'a> {
    source: &'a str,
    /// Where the text begins that is not in a segment yet.
    text_from: usize,
    /// The first `}` after the last `${`. It is kept so that the time stays linear for many `${`.
    next_close: Option<usize>,
    segments: Vec<Segment>,
}

impl<'a> Parser<'a> {
    fn new(source: &'a str) -> Self {
        let next_close = source.find('}');
        Self {
            source,
            text_from: 0,
            next_close,
            segments: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Segment> {
        let mut at = 0;
        while let Some(rest) = self
            .source
            .as_bytes()
            .get(at..)
            .filter(|rest| !rest.is_empty())
        {
            let opened = match rest {
                [b'{', b'{', ..] => self.braces(at + 2),
                [b'$', b'{', ..] => self.env(at + 2),
                _ => None,
            };
            match opened {
                Some((end, placeholder)) => at = self.push(at, end, placeholder),
                None => at += 1,
            }
        }
        self.text_until(self.source.len());
        self.segments
    }

    /// Parses `NAME}}` and returns its end and the placeholder.
    fn braces(&self, from: usize) -> Option<(usize, Placeholder)> {
        let rest = &self.source[from..];
        let run = rest
            .bytes()
            .take(MAX_NAME_BYTES + 1)
            .take_while(|b| !matches!(b, b'{' | b'}'));
        let length = run.count();
        if length > MAX_NAME_BYTES || !rest[length..].starts_with("}}") {
            return unclosed(rest).map(|length| {
                (
                    from + length,
                    Placeholder::Reserved(rest[..length].to_owned()),
                )
            });
        }
        let name = Some(&rest[..length]).filter(|name| !name.trim().is_empty())?;
        Some((from + length + 2, Placeholder::from_name(name)))
    }

    /// Parses `NAME}` and returns its end and the placeholder.
    fn env(&mut self, from: usize) -> Option<(usize, Placeholder)> {
        if self.next_close.is_some_and(|close| close < from) {
            self.next_close = self.source[from..].find('}').map(|close| from + close);
        }
        let close = self
            .next_close
            .filter(|close| (1..=MAX_NAME_BYTES).contains(&(close - from)))?;
        Some((
            close + 1,
            Placeholder::Env(self.source[from..close].to_owned()),
        ))
    }

    fn push(&mut self, start: usize, end: usize, placeholder: Placeholder) -> usize {
        self.text_until(start);
        let source = self.source[start..end].to_owned();
        self.segments.push(Segment::Placeholder {
            source,
            placeholder,
        });
        self.text_from = end;
        end
    }

    fn text_until(&mut self, end: usize) {
        if self.text_from < end {
            self.segments
                .push(Segment::Text(self.source[self.text_from..end].to_owned()));
        }
    }
}

/// The length of an unclosed reserved name, if the text begins with one.
fn unclosed(rest: &str) -> Option<usize> {
    let part = |b: &u8| b.is_ascii_alphanumeric() || b"_@.:/-".contains(b);
    let bytes = rest.bytes().take(MAX_NAME_BYTES);
    let blanks = bytes.clone().take_while(u8::is_ascii_whitespace).count();
    let length = blanks + bytes.skip(blanks).take_while(part).count();
    is_reserved(&rest[..length]).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Placeholders in angle brackets, text as it is.
    fn read(source: &str) -> String {
        let piece = |segment: &Segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Placeholder {
                source,
                placeholder,
            } => match placeholder {
                Placeholder::Reserved(_) => format!("<!{source}>"),
                _ => format!("<{source}>"),
            },
        };
        Template::parse(source)
            .segments()
            .iter()
            .map(piece)
            .collect()
    }

    #[test]
    fn braces_of_every_shape_are_parsed() {
        for (source, expected) in [
            ("", ""),
            ("{{", "{{"),
            ("}}", "}}"),
            ("{{}}", "{{}}"),
            ("{{ }}", "{{ }}"),
            ("{{A", "{{A"),
            ("A}}", "A}}"),
            ("{{A}", "{{A}"),
            ("{{A} }", "{{A} }"),
            ("{{X}}", "<{{X}}>"),
            ("{{{X}}}", "{<{{X}}>}"),
            ("{{{{X}}}}", "{{<{{X}}>}}"),
            ("{{X}}}}", "<{{X}}>}}"),
            ("{{X}}{{Y}}", "<{{X}}><{{Y}}>"),
            ("{{X{{Y}}", "{{X<{{Y}}>"),
            ("{{ X }}", "<{{ X }}>"),
            ("{{LIBRECHAT_USER_ID}}", "<{{LIBRECHAT_USER_ID}}>"),
            (
                "{{LIBRECHAT_OPENID_{{X}}}}",
                "<!{{LIBRECHAT_OPENID_><{{X}}>}}",
            ),
            (
                "Bearer {{LIBRECHAT_OPENID_TOKEN}",
                "Bearer <!{{LIBRECHAT_OPENID_TOKEN>}",
            ),
            ("{{LIBRECHAT_USER_ID }}", "<!{{LIBRECHAT_USER_ID }}>"),
            ("{{LIBRECHAT_ÄÖ", "<!{{LIBRECHAT_>ÄÖ"),
            ("{{ librechat_x }", "<!{{ librechat_x> }"),
            (
                "{{ LIBRECHAT_OPENID_TOKEN }}",
                "<!{{ LIBRECHAT_OPENID_TOKEN }}>",
            ),
        ] {
            assert_eq!(read(source), expected, "{source}");
        }
    }

    #[test]
    fn an_environment_name_ends_at_the_first_brace() {
        for (source, expected) in [
            ("${A}", "<${A}>"),
            ("${A}-${B}", "<${A}>-<${B}>"),
            ("  ${A} ", "  <${A}> "),
            ("$${A}", "$<${A}>"),
            ("x${${A}}", "x<${${A}>}"),
            ("${A:-b}", "<${A:-b}>"),
            ("${ A }", "<${ A }>"),
            ("${}", "${}"),
            ("${A", "${A"),
            ("$A {A} A", "$A {A} A"),
            ("{{A${B}}}", "{{A<${B}>}}"),
            ("${A{{B}}", "<${A{{B}>}"),
        ] {
            assert_eq!(read(source), expected, "{source}");
        }
    }

    #[test]
    fn only_plain_ascii_braces_open_a_placeholder() {
        for source in [
            "｛｛X｝｝",
            "{\u{200b}{X}}",
            "{{X}\u{200b}}",
            "{ {X} }",
            "%X%",
            "$(id)",
            "`id`",
        ] {
            assert_eq!(read(source), source);
        }
    }

    #[test]
    fn a_name_beyond_256_bytes_is_text() {
        let long = "é".repeat(MAX_NAME_BYTES / 2 + 1);
        assert_eq!(read(&format!("{{{{{long}}}}}")), format!("{{{{{long}}}}}"));
        assert_eq!(read(&format!("${{{long}}}")), format!("${{{long}}}"));
        let longest = "é".repeat(MAX_NAME_BYTES / 2);
        assert_eq!(
            read(&format!("{{{{{longest}}}}}")),
            format!("<{{{{{longest}}}}}>")
        );
    }

    #[test]
    fn a_mebibyte_of_openings_is_read_in_linear_time() {
        for piece in ["{{", "${", "{{a", "{{a}", "${a", "{${"] {
            let source = piece.repeat((1 << 20) / piece.len());
            assert_eq!(Template::parse(&source).placeholders().count(), 0);
        }
        assert_eq!(
            Template::parse(&"{{a}}${b}".repeat(100_000))
                .placeholders()
                .count(),
            200_000
        );
    }

    #[test]
    fn a_custom_variable_cannot_take_a_reserved_name() {
        assert_eq!(check_custom_name("MCP_API_KEY"), Ok(()));
        for name in [
            "LIBRECHAT_USER_EMAIL",
            "LIBRECHAT_X",
            " librechat_x",
            "",
            " ",
            "a{b",
            "a}b",
        ] {
            assert!(check_custom_name(name).is_err(), "{name}");
        }
        assert!(check_custom_name(&"a".repeat(257)).is_err());
    }

    #[test]
    fn a_template_does_not_print_its_text() {
        assert!(!format!("{:?}", Template::parse("sk-canary{{X}}")).contains("canary"));
    }

    proptest! {
        #[test]
        fn the_pieces_make_up_the_source(source in "([{}$ AXé]|LIBRECHAT_|\\PC){0,60}") {
            let template = Template::parse(&source);
            let joined: String = template.segments().iter().map(|segment| match segment {
                Segment::Text(text) => text.as_str(),
                Segment::Placeholder { source, .. } => source.as_str(),
            }).collect();
            prop_assert_eq!(joined, source);
        }

        #[test]
        fn a_name_in_double_braces_is_found_in_any_text(before in "[^{$]{0,20}", after in "[^{$]{0,20}") {
            let template = Template::parse(&format!("{before}{{{{X}}}}{after}"));
            let found: Vec<_> = template.placeholders().cloned().collect();
            prop_assert_eq!(found, vec![Placeholder::Custom("X".to_owned())]);
        }
    }
}
