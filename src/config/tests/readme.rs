//! The README's tables of settings.

use std::collections::BTreeSet;

use super::super::librechat::{self, Effect, Restricts};
use super::super::otel;
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
    assert_eq!(secrets, reader.secrets());
}

#[test]
fn the_readme_lists_every_setting_of_librechat_that_is_not_followed() {
    let shown = |row: &librechat::Row| {
        let names: Vec<_> = row.names.iter().map(|name| format!("`{name}`")).collect();
        let effect = match row.effect {
            Effect::None => "No effect",
            Effect::Refused(Restricts::IfSet) => "Refused",
            Effect::Refused(Restricts::IfTrue) => "Refused if `true`",
            Effect::Refused(Restricts::UnlessTrue) => "Refused unless `true`",
            Effect::Refused(Restricts::WithEmailLogin) => "Refused if `ALLOW_EMAIL_LOGIN` is on",
        };
        format!("| {} | {effect} | {} |", names.join(", "), row.why)
    };
    let expected: Vec<_> = librechat::ROWS.iter().map(shown).collect();
    let table = README
        .lines()
        .skip_while(|line| !line.starts_with("| LibreChat's setting |"));
    let listed: Vec<_> = table
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(listed, expected);
}

#[test]
fn the_readme_lists_every_variable_of_opentelemetry_without_effect() {
    let shown = |(names, why): &(&[&str], &str)| {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("| {} | {why} |", names.join(", "))
    };
    let expected: Vec<_> = otel::ROWS.iter().map(shown).collect();
    let table = README
        .lines()
        .skip_while(|line| !line.starts_with("| OpenTelemetry's variable |"));
    let listed: Vec<_> = table
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(listed, expected);
}
