//! Looks OpenTelemetry's variables up, and reports those that are wrong.

use std::ops::RangeInclusive;

use super::super::reader::Reader;

/// The name and the text of a variable.
pub(super) type Variable = (&'static str, String);

/// The variables of the process.
pub(super) struct Variables<'a, 'e> {
    pub reader: &'a mut Reader<'e>,
    /// Whether traces are on. If not, no variable counts; each is looked up all the same, so that the
    /// list in the README is complete.
    pub are_on: bool,
}

impl Variables<'_, '_> {
    /// The first of these that is set.
    pub fn first(&mut self, names: &[&'static str]) -> Option<Variable> {
        let set = |name: &&'static str| Some((*name, self.reader.library_text(name)?));
        let set: Vec<Variable> = names.iter().filter_map(set).collect();
        set.into_iter().next().filter(|_| self.are_on)
    }

    /// The first of these that is set, parsed.
    pub fn read<T, E: Into<String>>(
        &mut self,
        names: &[&'static str],
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let variable = self.first(names);
        self.parse(variable, parse)
    }

    /// Parses a variable.
    pub fn parse<T, E: Into<String>>(
        &mut self,
        variable: Option<Variable>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (name, text) = variable?;
        parse(&text)
            .map_err(|description| self.reader.mistake(name, description))
            .ok()
    }

    /// The first of these that is set, as a whole number.
    pub fn number(&mut self, names: &[&'static str], range: RangeInclusive<u32>) -> Option<u32> {
        self.read(names, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            let (least, most) = (range.start(), range.end());
            number.ok_or_else(|| format!("must be a whole number from {least} to {most}"))
        })
    }
}

/// Accepts this word alone, in upper or lower case.
pub(super) fn word(
    text: &str,
    expected: &str,
    description: &'static str,
) -> Result<(), &'static str> {
    let is_expected = text.eq_ignore_ascii_case(expected);
    is_expected.then_some(()).ok_or(description)
}
