//! The custom variables that a server declares.

use std::collections::BTreeSet;

use super::parser::Template;
use super::vocabulary::{Placeholder, folded, is_blank};

/// The names of the custom variables that a server declares.
#[derive(Debug)]
pub(super) struct DeclaredNames {
    names: BTreeSet<String>,
    folded: BTreeSet<String>,
}

impl DeclaredNames {
    pub(super) fn new(names: BTreeSet<String>) -> Self {
        Self {
            folded: names.iter().map(|name| look(name)).collect(),
            names,
        }
    }

    /// Makes a template's placeholders of these names declared ones. A name that differs from all
    /// of them, but from one only by case or blanks, is a mistake and never resolves.
    pub(super) fn apply(&self, template: &mut Template) {
        if self.names.is_empty() {
            return;
        }
        for placeholder in template.placeholders_mut() {
            let Placeholder::Custom(name) = placeholder else {
                continue;
            };
            if self.names.contains(name) {
                *placeholder = Placeholder::Declared(std::mem::take(name));
            } else if self.folded.contains(&look(name)) {
                *placeholder = Placeholder::Reserved(std::mem::take(name));
            }
        }
    }
}

/// What names that differ only by case or blanks have in common.
fn look(name: &str) -> String {
    folded(name, is_blank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_name_is_told_from_one_that_only_looks_like_it() {
        let names = ["KEY", "Key"].map(str::to_owned);
        let mut template = Template::parse("{{KEY}}{{ key }}{{Key}}{{OTHER}}${KEY}");
        DeclaredNames::new(names.into()).apply(&mut template);
        let found: Vec<_> = template.placeholders().cloned().collect();
        let expected = [
            Placeholder::Declared("KEY".to_owned()),
            Placeholder::Reserved(" key ".to_owned()),
            Placeholder::Declared("Key".to_owned()),
            Placeholder::Custom("OTHER".to_owned()),
            Placeholder::Env("KEY".to_owned()),
        ];
        assert_eq!(found, expected);
    }
}
