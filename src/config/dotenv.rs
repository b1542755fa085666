//! `.env` files as LibreChat's own reader (the npm package `dotenv`) takes them.
//!
//! The crate dotenvy is not used: it refuses `SESSION_EXPIRY=1000 * 60 * 15` without quotes, which LibreChat's sample file
//! holds, and replaces `$` in passwords.

/// The assignments in order, and the numbers of lines that are none.
pub fn parse(text: &str) -> (Vec<(String, String)>, Vec<usize>) {
    let (mut pairs, mut bad_lines) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (entry, after) = entry(rest);
        match entry {
            Entry::Pair(name, value) => pairs.push((name, value)),
            Entry::Bad => bad_lines.push(line),
            Entry::Nothing => {}
        }
        line += rest[..rest.len() - after.len()].matches('\n').count();
        rest = after;
    }
    (pairs, bad_lines)
}

enum Entry {
    Pair(String, String),
    Bad,
    Nothing,
}

fn entry(text: &str) -> (Entry, &str) {
    let (line, after) = split_line(text);
    if is_nothing(line) {
        return (Entry::Nothing, after);
    }
    let Some(equals) = line.find('=') else {
        return (Entry::Bad, after);
    };
    let (name, value) = (bare(&text[..equals]), &text[equals + 1..]);
    if name.is_empty()
        || !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    {
        return (Entry::Bad, after);
    }
    match assigned(value) {
        Some((value, after)) => (Entry::Pair(name.to_owned(), value), after),
        None => (Entry::Bad, after),
    }
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

fn is_nothing(line: &str) -> bool {
    line.trim_start().is_empty() || line.trim_start().starts_with('#')
}

fn bare(name: &str) -> &str {
    let name = name.trim();
    name.strip_prefix("export ").map_or(name, str::trim_start)
}

/// The value after `=` and the text after its line; a quoted value may span lines.
fn assigned(text: &str) -> Option<(String, &str)> {
    let start = text.trim_start_matches([' ', '\t']);
    let Some(quote) = start.chars().next().filter(|c| "'\"`".contains(*c)) else {
        let (line, after) = split_line(text);
        return Some((
            line.split('#').next().unwrap_or_default().trim().to_owned(),
            after,
        ));
    };
    let end = closing(&start[1..], quote)? + 1;
    let (tail, after) = split_line(&start[end + 1..]);
    let value = &start[1..end];
    let value = if quote == '"' {
        value.replace("\\n", "\n").replace("\\r", "\r")
    } else {
        value.to_owned()
    };
    is_nothing(tail).then_some((value, after))
}

fn closing(text: &str, quote: char) -> Option<usize> {
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
    fn a_line_that_is_no_assignment_is_told_by_its_number() {
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
