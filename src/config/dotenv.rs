//! Parses `.env` files as the npm package `dotenv` does, which LibreChat uses.
//!
//! The crate dotenvy is not used: it refuses `SESSION_EXPIRY=1000 * 60 * 15` without quotes, as it
//! is in LibreChat's sample file, and expands `$` in passwords.

/// The assignments in order, and the numbers of the lines that are not assignments.
pub fn parse(text: &str) -> (Vec<(String, String)>, Vec<usize>) {
    let (mut pairs, mut bad_lines) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (entry, after) = entry(rest);
        match entry {
            Entry::Pair(name, value) => pairs.push((name, value)),
            Entry::Malformed => bad_lines.push(line),
            Entry::Blank => {}
        }
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    (pairs, bad_lines)
}

enum Entry {
    Pair(String, String),
    Malformed,
    /// An empty line or a comment.
    Blank,
}

fn entry(text: &str) -> (Entry, &str) {
    let (line, after) = split_line(text);
    if is_blank_or_comment(line) {
        return (Entry::Blank, after);
    }
    let Some(equals) = line.find('=') else {
        return (Entry::Malformed, after);
    };
    let (name, value) = (without_export(&text[..equals]), &text[equals + 1..]);
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    {
        return (Entry::Malformed, after);
    }
    match parse_value(value) {
        Some((value, after)) => (Entry::Pair(name.to_owned(), value), after),
        None => (Entry::Malformed, after),
    }
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

fn is_blank_or_comment(line: &str) -> bool {
    line.trim_start().is_empty() || line.trim_start().starts_with('#')
}

fn without_export(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("export ").map_or(name, str::trim_start)
}

/// Splits the text after `=` into the value and the text after its line. A quoted value may span
/// lines.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let start = text.trim_start_matches([' ', '\t']);
    let Some(quote) = start.chars().next().filter(|c| "'\"`".contains(*c)) else {
        let (line, after) = split_line(text);
        return Some((
            line.split('#').next().unwrap_or_default().trim().to_owned(),
            after,
        ));
    };
    let end = closing_quote(&start[1..], quote)? + 1;
    let (tail, after) = split_line(&start[end + 1..]);
    let value = &start[1..end];
    let value = if quote == '"' {
        value.replace("\\n", "\n").replace("\\r", "\r")
    } else {
        value.to_owned()
    };
    is_blank_or_comment(tail).then_some((value, after))
}

fn closing_quote(text: &str, quote: char) -> Option<usize> {
    text.match_indices(quote)
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with('\\'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> String {
        let (pairs, bad_lines) = parse(text);
        assert!(bad_lines.is_empty(), "{text:?}");
        pairs.last().expect("an assignment").1.clone()
    }

    #[test]
    fn a_value_of_librechats_sample_file_needs_no_quotes() {
        assert_eq!(value("SESSION_EXPIRY=1000 * 60 * 15\r\n"), "1000 * 60 * 15");
        assert_eq!(
            value("OPENID_SCOPE=openid profile email #DO NOT CHANGE THIS"),
            "openid profile email"
        );
        assert_eq!(value("export A = b"), "b");
        assert_eq!(value("\u{feff}A="), "");
    }

    #[test]
    fn quotes_keep_their_text_and_dollars_are_inert() {
        assert_eq!(value("A='a # b'"), "a # b");
        assert_eq!(value("A=`a'b` # comment"), "a'b");
        assert_eq!(value(r#"A="x\ny""#), "x\ny");
        assert_eq!(value("A=\"x\ny\"\nB=c"), "c");
        assert_eq!(value("A=pa$HOME${HOME}"), "pa$HOME${HOME}");
    }

    #[test]
    fn a_line_that_is_not_an_assignment_is_reported_by_its_number() {
        let (pairs, bad_lines) =
            parse("# a comment\nA=\"1\n2\"\nnonsense\n\nB=\"open\nC=3\nD='x' y\nsp ace=1\n");
        assert_eq!(
            pairs,
            [
                ("A".to_owned(), "1\n2".to_owned()),
                ("C".to_owned(), "3".to_owned())
            ]
        );
        assert_eq!(bad_lines, [4, 6, 8, 9]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[A-Z=\"'`\\\\# \n$é]{0,60}") {
            parse(&text);
        }
    }
}
