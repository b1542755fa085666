//! The README's tables of settings.

use std::collections::BTreeSet;

use super::*;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

/// The names in the first column of all tables of settings, and those of them that are secrets.
fn listed() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut names, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    let mut in_table = false;
    for line in README.lines() {
        if line.starts_with("| Setting |") {
            in_table = true;
        } else if !line.starts_with('|') {
            in_table = false;
        } else if in_table && !line.starts_with("|--") && !line.starts_with("| --") {
            let cell = line.split('|').nth(1).unwrap_or_default();
            for name in cell.split('`').skip(1).step_by(2) {
                names.insert(name.to_owned());
                if cell.contains("(secret)") {
                    secrets.insert(name.to_owned());
                }
            }
        }
    }
    (names, secrets)
}

#[test]
fn the_readme_lists_every_setting_that_is_read_and_no_other() {
    // `NODE_ENV` is read only if a domain is plain http.
    let env = Env::from_pairs([("DOMAIN_SERVER", "http://chat.example")]);
    let mut reader = Reader::new(&env);
    Config::read_all(&mut reader);
    let (names, secrets) = listed();
    let file_of = |name: &String| format!("{name}_FILE");
    let read: BTreeSet<_> = reader
        .names()
        .iter()
        .filter(|name| {
            !reader
                .secrets()
                .iter()
                .map(file_of)
                .any(|file| file == **name)
        })
        .cloned()
        .collect();
    assert_eq!(names, read);
    assert_eq!(secrets, *reader.secrets());
}
