//! The callers' file, COUNTERSIGN_CALLERS.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use super::callers::{Caller, Callers, OPEN, Permission, TOKEN_PREFIX};
use super::reader::Reader;

const NAME: &str = "COUNTERSIGN_CALLERS";
const SHAPE: &str = "callers: [{ name, token_sha256: [..], permissions: [..], audiences: [..] }]";
const MAX_BYTES: u64 = 1024 * 1024;
const MAX_TOKENS: usize = 2;
const MAX_NAME: usize = 64;

/// Keys that no field has.
type Unknown = BTreeMap<String, serde_json::Value>;

#[derive(Deserialize)]
struct File {
    callers: Vec<Entry>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    name: String,
    token_sha256: Vec<String>,
    permissions: Vec<String>,
    audiences: Vec<String>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Who may call: the file's callers, or everyone on loopback where no file is named.
pub(super) fn read(r: &mut Reader<'_>) -> Callers {
    let Some(path) = r.text(NAME) else {
        return Callers::Open;
    };
    match load(&path) {
        Ok(file) => Callers::Listed(check(r, file)),
        Err(description) => {
            r.mistake(NAME, description);
            Callers::Listed(Vec::new())
        }
    }
}

fn load(path: &str) -> Result<File, String> {
    let unreadable = |error: std::io::Error| format!("names a file that cannot be read: {error}");
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err("names a file of more than 1 MiB".to_owned());
    }
    parse(&fs::read_to_string(path).map_err(unreadable)?)
}

/// The parser's own words may quote the file, so only the place of a fault is told.
fn parse(text: &str) -> Result<File, String> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_documents: 1, max_aliases: 100, max_nodes: 100_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 10_000 },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map(|place| format!(" at line {}, column {}", place.line(), place.column()))
            .unwrap_or_default();
        let fault = match error {
            serde_saphyr::Error::DuplicateMappingKey { .. } => "has the same key twice".to_owned(),
            _ => format!("is not of the shape {SHAPE}"),
        };
        format!("{fault}{place}")
    })
}

fn check(r: &mut Reader<'_>, file: File) -> Vec<Caller> {
    let mut faults = unknown_keys(&file.unknown);
    if file.callers.is_empty() {
        faults.push("names a file without callers; unset it to go without".to_owned());
    }
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    let mut callers = Vec::new();
    for (index, entry) in file.callers.into_iter().enumerate() {
        let (caller, mut of_caller) = check_entry(&entry);
        if !names.insert(caller.name.clone()) {
            of_caller.push("has the name of another caller".to_owned());
        }
        if caller.token_sha256.iter().any(|hash| !hashes.insert(*hash)) {
            of_caller.push("has a token_sha256 that occurs twice".to_owned());
        }
        if caller.permissions.is_empty() {
            r.warn(format!(
                "{NAME}: {} has no permission",
                label(&entry.name, index)
            ));
        }
        faults.extend(
            of_caller
                .into_iter()
                .map(|fault| format!("{} {fault}", label(&entry.name, index))),
        );
        callers.push(caller);
    }
    for fault in faults {
        r.mistake(NAME, fault);
    }
    callers
}

/// How a caller is called in a mistake; a malformed name could be anything, even a token.
fn label(name: &str, index: usize) -> String {
    if is_name(name) {
        format!("caller {name}")
    } else {
        format!("caller {}", index + 1)
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.starts_with(TOKEN_PREFIX)
}

fn check_entry(entry: &Entry) -> (Caller, Vec<String>) {
    let mut faults = unknown_keys(&entry.unknown);
    if !is_name(&entry.name) {
        faults.push(format!(
            "has no name of 1 to {MAX_NAME} letters, digits, dots, dashes and underscores"
        ));
    }
    if entry.name == OPEN {
        faults.push("has a name that is taken for a service without callers".to_owned());
    }
    match entry.token_sha256.len() {
        0 => faults.push(
            "has no credential: give it a token_sha256 (countersign caller new-token)".to_owned(),
        ),
        1..=MAX_TOKENS => {}
        _ => faults.push(format!("has more than {MAX_TOKENS} token_sha256")),
    }
    if entry
        .audiences
        .iter()
        .any(|audience| audience.trim().is_empty())
    {
        faults.push("has an empty audience".to_owned());
    }
    let token_sha256 = collect(&entry.token_sha256, &mut faults, hash);
    let permissions = collect(&entry.permissions, &mut faults, permissions)
        .into_iter()
        .flatten()
        .collect();
    (
        Caller {
            name: entry.name.clone(),
            token_sha256,
            permissions,
            audiences: entry.audiences.clone(),
        },
        faults,
    )
}

fn collect<T>(
    texts: &[String],
    faults: &mut Vec<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in texts {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    values
}

fn hash(text: &str) -> Result<[u8; 32], String> {
    if text.starts_with(TOKEN_PREFIX) {
        return Err(
            "has a token itself in token_sha256; put its SHA-256 there and make a new token"
                .to_owned(),
        );
    }
    let mut hash = [0; 32];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) if lower => Ok(hash),
        _ => Err("has a token_sha256 that is not 64 lower-case hexadecimal digits".to_owned()),
    }
}

fn permissions(text: &str) -> Result<Vec<Permission>, String> {
    Permission::covered_by(text)
        .ok_or_else(|| format!("has the unknown permission {}", shown(text)))
}

fn unknown_keys(keys: &Unknown) -> Vec<String> {
    keys.keys()
        .map(|key| format!("has the unknown key {}; the shape is {SHAPE}", shown(key)))
        .collect()
}

/// A misspelt word of the file's own vocabulary, but nothing that could be a secret in the wrong place.
fn shown(word: &str) -> &str {
    let plain = word.len() <= MAX_NAME
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b"._*".contains(&b));
    if plain { word } else { "(not shown)" }
}

#[cfg(test)]
mod tests {
    use super::super::env::Env;
    use super::*;

    const A: &str = "0b5b3d5f9f6f1c1a7a2f60a8f5a1a1d0c7d2f0b1a9e8d7c6b5a4f3e2d1c0b9a8";
    const B: &str = "1b5b3d5f9f6f1c1a7a2f60a8f5a1a1d0c7d2f0b1a9e8d7c6b5a4f3e2d1c0b9a8";

    fn read_text(text: &str) -> Result<Vec<Caller>, String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        let env = Env::from_pairs([(NAME, file.path().as_os_str())]);
        let mut r = Reader::new(&env);
        let callers = read(&mut r);
        r.finish().map_err(|mistakes| mistakes.to_string())?;
        match callers {
            Callers::Listed(callers) => Ok(callers),
            Callers::Open => Err("open".to_owned()),
        }
    }

    #[test]
    fn a_good_file_lists_its_callers() {
        let text = format!(
            "callers:\n  - name: librechat\n    token_sha256: [{A}, {B}]\n    permissions: [auth.sign_in, token.*]\n    audiences: [chat]\n"
        );
        let callers = read_text(&text).expect("good");
        assert_eq!(callers[0].name, "librechat");
        assert_eq!(callers[0].token_sha256.len(), 2);
        assert_eq!(callers[0].audiences, ["chat"]);
        assert!(
            callers[0].permissions.contains(&Permission::TokenRefresh)
                && !callers[0].permissions.contains(&Permission::TokenMint)
        );
    }

    #[test]
    fn a_hash_of_digits_alone_needs_no_quotes() {
        for hash in [
            "1".repeat(64),
            format!("{}e{}", "1".repeat(62), 1),
            "0".repeat(64),
        ] {
            assert!(
                read_text(&format!("callers: [{{ name: a, token_sha256: [{hash}] }}]")).is_ok(),
                "{hash}"
            );
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one story told in order")]
    fn n08_every_fault_is_told_with_its_caller() {
        for (entries, expected) in [
            (String::new(), "names a file without callers"),
            (
                format!("{{ name: a, token_sha256: [{A}], role: x }}"),
                "caller a has the unknown key role",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}] }}, {{ name: a, token_sha256: [{B}] }}"),
                "caller a has the name of another caller",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}] }}, {{ name: b, token_sha256: [{A}] }}"),
                "caller b has a token_sha256 that occurs twice",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}, {A}] }}"),
                "caller a has a token_sha256 that occurs twice",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}, {B}, {A}] }}"),
                "caller a has more than 2 token_sha256",
            ),
            (
                format!("{{ name: a, token_sha256: [{}] }}", A.to_uppercase()),
                "caller a has a token_sha256 that is not 64 lower-case",
            ),
            (
                "{ name: a, token_sha256: [abc] }".to_owned(),
                "caller a has a token_sha256 that is not 64 lower-case",
            ),
            (
                "{ name: a, token_sha256: [csc_canary] }".to_owned(),
                "caller a has a token itself in token_sha256",
            ),
            ("{ name: a }".to_owned(), "caller a has no credential"),
            (format!("{{ token_sha256: [{A}] }}"), "caller 1 has no name"),
            (
                format!("{{ name: csc_canary, token_sha256: [{A}] }}"),
                "caller 1 has no name",
            ),
            (
                format!("{{ name: open, token_sha256: [{A}] }}"),
                "caller open has a name that is taken",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}], permissions: [token.verfy] }}"),
                "caller a has the unknown permission token.verfy",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}], permissions: ['*'] }}"),
                "caller a has the unknown permission *",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}], permissions: [csC_canary] }}"),
                "caller a has the unknown permission (not shown)",
            ),
            (
                format!("{{ name: a, token_sha256: [{A}], audiences: [''] }}"),
                "caller a has an empty audience",
            ),
            (
                format!("{{ name: a, name: b, token_sha256: [{A}] }}"),
                "has the same key twice at line 1",
            ),
            (
                "{ name: a, token_sha256: csc_canary }".to_owned(),
                "is not of the shape",
            ),
        ] {
            let shown = read_text(&format!("callers: [{entries}]")).expect_err(&entries);
            assert!(
                shown.contains(expected) && !shown.contains("canary"),
                "{entries}: {shown}"
            );
        }
    }

    #[test]
    fn n08_files_that_are_no_callers_file_are_refused() {
        let bomb = format!(
            "a: &a [x]\n{}callers: *z\n",
            (b'b'..=b'z')
                .map(|c| (char::from(c), char::from(c - 1)))
                .fold(String::new(), |text, (c, before)| {
                    format!(
                        "{text}{c}: &{c} [{}]\n",
                        [
                            format!("*{before}"),
                            format!("*{before}"),
                            format!("*{before}")
                        ]
                        .join(",")
                    )
                })
        );
        for text in [
            "",
            "x",
            "callers: 1",
            "callers: {}",
            "callers: [a]",
            "other: []",
            "callers: []\nother: 1",
            "callers: []\n---\ncallers: []",
            &bomb,
        ] {
            assert!(read_text(text).is_err(), "{text}");
        }
        assert!(
            load("/nonexistent/callers.yaml")
                .err()
                .is_some_and(|fault| !fault.contains("nonexistent"))
        );
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let shown =
            read_text("callers: [{ name: a, permissions: [no.such] }, { name: b, more: 1 }]")
                .expect_err("faulty");
        assert_eq!(shown.lines().count(), 4, "{shown}");
    }
}
