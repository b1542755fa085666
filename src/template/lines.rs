//! Chooses how a value is built for each sink.

use super::header::HeaderLine;
use super::sink::{ArgumentLine, EnvLine, Line, TextLine};
use super::url::UrlLine;
use super::vocabulary::Sink;

/// An empty value for a sink. In a `user_authored` template even the literal text comes from a
/// user.
pub(super) fn open(sink: Sink, user_authored: bool) -> Box<dyn Line> {
    match sink {
        Sink::Header => Box::new(HeaderLine::default()),
        Sink::Url => Box::new(UrlLine::default()),
        Sink::Env => Box::new(EnvLine::new(user_authored)),
        Sink::Text => Box::new(TextLine::default()),
        Sink::Argument => Box::new(ArgumentLine::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::vocabulary::Status;

    #[test]
    fn a_users_value_cannot_break_an_environment_line() {
        for value in ["a\nb", "a\rb", "a\0b"] {
            assert_eq!(
                open(Sink::Env, false).value(value),
                Err(Status::UnsafeValue)
            );
        }
    }

    #[test]
    fn the_operators_text_may_have_lines_but_no_nul() {
        for (text, user_authored, fine) in [
            ("a\nb", false, true),
            ("a\nb", true, false),
            ("a\0b", false, false),
        ] {
            let mut line = open(Sink::Env, user_authored);
            line.operator(text);
            assert_eq!(line.finish().is_ok(), fine);
        }
    }
}
