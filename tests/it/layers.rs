//! Rules for the sources: which modules may use which, and which crates and calls are allowed in
//! which modules.

use crate::support::sources::{Source, assert_none, code, is_test, sources};

const MAX_LINES: usize = 400;

/// Top-level modules, lowest rank first. A module may use modules of lower ranks; the modules of
/// the lowest rank may also use each other.
const RANKS: [&[&str]; 15] = [
    GROUND,
    &["model"],
    &["config", "http", "jose"],
    &["telemetry"],
    &["store", "provider", "template"],
    &["feed", "mail"],
    &["token", "moderation", "federation"],
    &["auth"],
    &["caller"],
    &["transport"],
    &["grpc", "ops"],
    &["server"],
    &["app"],
    &["cli"],
    &["main", "lib"],
];
const GROUND: &[&str] = &[
    "health", "machine", "metrics", "trace", "reload", "tasks", "repeats", "clock", "error", "id",
    "secret",
];

/// Modules that, besides the rule of ranks, only these modules may use.
const USERS: [(&str, &[&str]); 3] = [
    ("auth", &["grpc", "cli", "app"]),
    ("telemetry", &["cli"]),
    // `app` joins the parts and gives them to `server`.
    ("grpc", &["server", "app"]),
];

/// Modules that, besides the rule of ranks, may use only these and the ground.
const NEEDS: [(&str, &[&str]); 3] = [
    ("template", &[]),
    ("caller", &["config", "http", "jose"]),
    ("transport", &["caller", "model"]),
];

/// Crates, modules and types, and the only sources that may name them.
const PLACES: [(&str, &[&str]); 25] = [
    ("tonic", &["grpc/", "transport/", "server.rs"]),
    // The exporter of traces takes settings of TLS by tonic's types, which it re-exports under this
    // name.
    ("tonic_types", &["transport/", "server.rs", "telemetry/"]),
    ("opentelemetry", &["trace/", "telemetry/"]),
    ("opentelemetry_sdk", &["telemetry/"]),
    ("opentelemetry_otlp", &["telemetry/"]),
    ("tonic_health", &["transport/", "server.rs"]),
    ("tonic_reflection", &["server.rs"]),
    ("prost", &["grpc/"]),
    ("prost_types", &["grpc/", "transport/"]),
    ("proto", &["grpc/", "server.rs"]),
    ("sqlx", &["store/"]),
    ("lettre", &["mail/"]),
    ("openidconnect", &["provider/"]),
    ("oauth2", &["provider/"]),
    ("reqwest", &["http/"]),
    ("hyper", &["ops/"]),
    ("hyper_util", &["ops/", "transport/health_client.rs"]),
    ("jsonwebtoken", &["jose/"]),
    (
        "tokio_rustls",
        &["transport/connection/", "transport/health_client.rs"],
    ),
    ("x509_cert", &["transport/tls/"]),
    ("argon2", &["auth/password.rs"]),
    ("prometheus_client", &["metrics/"]),
    // Only parsing a request knows its fields.
    ("FieldErrors", &["grpc/"]),
    ("FieldError", &["grpc/", "transport/status/mod.rs"]),
    // aws-lc-rs generates key pairs only with its own generator.
    ("SystemRandom", &["secret/", "jose/key.rs"]),
];
/// Calls, and the only sources that may make them.
const PHRASES: [(&str, &[&str]); 4] = [
    ("SystemTime::now", &["clock.rs"]),
    ("Instant::now", &["clock.rs"]),
    ("std::env", &["config/env.rs"]),
    ("env::var", &["config/env.rs"]),
];

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
    let of_ground = GROUND.contains(&module);
    let both_ground = of_ground && GROUND.contains(&user);
    let invited = USERS
        .iter()
        .find(|(used, _)| *used == module)
        .is_none_or(|(_, users)| users.contains(&user));
    let needed = NEEDS
        .iter()
        .find(|(using, _)| *using == user)
        .is_none_or(|(_, modules)| of_ground || modules.contains(&module));
    user == module || both_ground || (above > below && invited && needed)
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
        "main → cli → app → server → grpc, ops → transport → caller → auth → token, moderation, federation → feed, mail → store, provider, template → telemetry → http, jose, config → model → the ground",
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
            && may_use("caller", "config")
    );
    for (user, module) in [
        ("token", "moderation"),
        ("store", "token"),
        ("server", "auth"),
        ("federation", "auth"),
        ("clock", "store"),
        ("auth", "nowhere"),
        ("template", "config"),
        ("caller", "auth"),
        ("transport", "auth"),
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
