//! Rules for the sources: which modules may use which, and which crates and calls are allowed in which modules.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

const MAX_LINES: usize = 400;

/// Top-level modules, lowest rank first. A module may use modules of lower ranks; the modules of the lowest rank may also use each other.
const RANKS: [&[&str]; 11] = [
    GROUND,
    &["config", "http", "jose"],
    &["telemetry", "store"],
    &["mail"],
    &["token", "moderation", "federation"],
    &["auth"],
    &["grpc", "ops"],
    &["server"],
    &["app"],
    &["cli"],
    &["main", "lib"],
];
const GROUND: &[&str] = &["clock", "error", "id", "secret"];

/// Modules that, besides the rule of ranks, only these modules may use.
const USERS: [(&str, &[&str]); 2] = [("auth", &["grpc", "cli", "app"]), ("telemetry", &["cli"])];

/// Crates, modules and types, and the only sources that may name them.
const PLACES: [(&str, &[&str]); 15] = [
    ("tonic", &["grpc/", "server.rs"]),
    ("tonic_types", &["grpc/", "server.rs"]),
    ("tonic_health", &["grpc/", "server.rs"]),
    ("tonic_reflection", &["grpc/", "server.rs"]),
    ("prost", &["grpc/", "server.rs"]),
    ("prost_types", &["grpc/", "server.rs"]),
    ("proto", &["grpc/", "server.rs"]),
    ("sqlx", &["store/"]),
    ("lettre", &["mail/"]),
    ("openidconnect", &["federation/"]),
    ("oauth2", &["federation/"]),
    ("reqwest", &["http/", "http.rs"]),
    ("jsonwebtoken", &["jose/", "jose.rs"]),
    ("argon2", &["auth/password.rs"]),
    // aws-lc-rs generates key pairs only with its own generator.
    ("SystemRandom", &["secret.rs", "jose/key.rs"]),
];
/// Calls, and the only sources that may make them.
const PHRASES: [(&str, &[&str]); 4] = [
    ("SystemTime::now", &["clock.rs"]),
    ("Instant::now", &["clock.rs"]),
    ("std::env", &["config/env.rs"]),
    ("env::var", &["config/env.rs"]),
];

/// A source file without its tests and comments.
struct Source {
    /// Below `src`, such as `auth/login.rs`.
    path: String,
    /// The lines that are left, with their numbers.
    lines: Vec<(usize, String)>,
    length: usize,
}

impl Source {
    fn top(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// How many `super::` lead from the file to the root of the crate.
    fn depth(&self) -> usize {
        self.path
            .split('/')
            .filter(|part| *part != "mod.rs")
            .count()
    }
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a source file");
        let path = path
            .strip_prefix(&root)
            .expect("below src")
            .to_str()
            .expect("UTF-8")
            .replace('\\', "/");
        Source {
            length: text.lines().count(),
            lines: code(&text),
            path,
        }
    };
    let sources: Vec<_> = files(&root)
        .expect("the sources")
        .into_iter()
        .map(read)
        .collect();
    assert!(sources.len() > 50, "the sources are not found");
    sources
}

/// Whether the whole file consists of tests.
fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| ["tests", "tests.rs", "testing.rs"].contains(&part))
}

/// The lines that are neither a comment nor an item under `#[cfg(test)]`.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines = text.lines().enumerate();
    let mut kept = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line == "#[cfg(test)]" {
            let (_, item) = lines.next().expect("an item");
            if item.ends_with('{') {
                lines
                    .by_ref()
                    .find(|(_, line)| *line == "}")
                    .expect("the item's end");
            }
        } else if !line.trim_start().starts_with("//") {
            kept.push((number + 1, line.to_owned()));
        }
    }
    kept
}

/// The positions of a word in a line, as a whole word.
fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let (before, after) = (&line[..*at], &line[at + word.len()..]);
            !before.ends_with(part) && !after.starts_with(part)
        })
}

/// Whether a line names a crate, module or type in a path.
fn names(line: &str, word: &str) -> bool {
    words(line, word).any(|at| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        after.starts_with("::") || before.ends_with("::") || before.trim_start().starts_with("use ")
    })
}

/// Our modules that a line names by a path from the root.
fn used(line: &str) -> impl Iterator<Item = &str> {
    let ours = ["crate", "countersign"]
        .into_iter()
        .flat_map(move |root| words(line, root).map(move |at| &line[at + root.len()..]));
    ours.filter_map(|rest| rest.strip_prefix("::")).map(|rest| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default()
    })
}

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|rank| rank.contains(&module))
}

fn may_use(user: &str, module: &str) -> bool {
    let (Some(above), Some(below)) = (rank(user), rank(module)) else {
        return false;
    };
    let ground = GROUND.contains(&user) && GROUND.contains(&module);
    let invited = USERS
        .iter()
        .find(|(used, _)| *used == module)
        .is_none_or(|(_, users)| users.contains(&user));
    user == module || ground || (above > below && invited)
}

/// Fails with a list of all faults, one per line.
fn assert_none(rule: &str, faults: &[(String, usize, String)]) {
    let mut text = String::new();
    for (path, line, fault) in faults {
        writeln!(text, "  src/{path}:{line}: {fault}").expect("written");
    }
    assert!(faults.is_empty(), "{rule}:\n{text}");
}

/// Collects what `check` finds in all lines outside of tests.
fn faults(check: impl Fn(&Source, &str) -> Vec<String>) -> Vec<(String, usize, String)> {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !is_test(&source.path)) {
        for (number, line) in &source.lines {
            faults.extend(
                check(source, line)
                    .into_iter()
                    .map(|fault| (source.path.clone(), *number, fault)),
            );
        }
    }
    faults
}

#[test]
fn modules_depend_one_way() {
    let found = faults(|source, line| {
        let wrong = used(line)
            .filter(|module| !module.is_empty() && module.starts_with(char::is_lowercase));
        let wrong = wrong.filter(|module| !may_use(source.top(), module));
        wrong
            .map(|module| {
                format!(
                    "`{}` must not use `{module}`: {}",
                    source.top(),
                    line.trim()
                )
            })
            .collect()
    });
    assert_none(
        "main → cli → app → server → grpc, ops → auth → token, moderation, federation → mail → store → jose, http, config → the ground",
        &found,
    );
}

#[test]
fn a_path_to_another_module_begins_with_crate_and_one_name() {
    let found = faults(|source, line| {
        let mut faults = Vec::new();
        if line.contains("crate::{") {
            faults.push(format!(
                "one `use` for each module, so that this test sees them: {}",
                line.trim()
            ));
        }
        if line.contains(&"super::".repeat(source.depth())) {
            faults.push(format!(
                "`super` leads out of the module; begin with `crate`: {}",
                line.trim()
            ));
        }
        faults
    });
    assert_none("paths between modules", &found);
}

#[test]
fn crates_and_calls_are_used_only_in_their_own_modules() {
    let found = faults(|source, line| {
        let away = |places: &[&str]| {
            !places.iter().any(|place| {
                source.path == *place || (place.ends_with('/') && source.path.starts_with(place))
            })
        };
        let words = PLACES
            .iter()
            .filter(|(word, places)| away(places) && names(line, word));
        let phrases = PHRASES
            .iter()
            .filter(|(phrase, places)| away(places) && line.contains(phrase));
        words
            .chain(phrases)
            .map(|(word, places)| {
                format!(
                    "`{word}` may be used only in {}: {}",
                    places.join(", "),
                    line.trim()
                )
            })
            .collect()
    });
    assert_none("crates and calls in their own modules", &found);
}

#[test]
fn no_source_file_is_longer_than_four_hundred_lines() {
    let long = sources()
        .into_iter()
        .filter(|source| source.length > MAX_LINES);
    let found: Vec<_> = long
        .map(|source| {
            (
                source.path,
                source.length,
                format!("split it: at most {MAX_LINES} lines"),
            )
        })
        .collect();
    assert_none("the length of files", &found);
}

#[test]
fn the_rules_find_what_they_are_meant_to_find() {
    assert_eq!(
        used("use crate::store::Store; use crate::auth;").collect::<Vec<_>>(),
        ["store", "auth"]
    );
    assert!(
        names("use sqlx::query;", "sqlx")
            && names("    tonic::Status,", "tonic")
            && names("use super::proto;", "proto")
    );
    assert!(
        !names("tonic_types::StatusExt", "tonic")
            && !names("let sqlx = 1;", "sqlx")
            && !names("\"reqwest=info\"", "reqwest")
    );
    assert!(
        may_use("grpc", "auth")
            && may_use("app", "auth")
            && may_use("id", "secret")
            && may_use("auth", "token")
    );
    for (user, module) in [
        ("token", "moderation"),
        ("store", "token"),
        ("server", "auth"),
        ("federation", "auth"),
        ("clock", "store"),
        ("auth", "nowhere"),
    ] {
        assert!(!may_use(user, module), "{user} → {module}");
    }
    let text = "use a;\n#[cfg(test)]\nmod tests {\n    use sqlx::x;\n}\n// sqlx::x\nuse b;\n#[cfg(test)]\nmod c;\nuse d;\n";
    assert_eq!(
        code(text)
            .into_iter()
            .map(|(number, _)| number)
            .collect::<Vec<_>>(),
        [1, 7, 10]
    );
}
