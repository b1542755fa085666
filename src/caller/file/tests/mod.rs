mod jwt;

use std::fs;

use super::*;
use crate::caller::limits::Rate;

const A: &str = "0b5b3d5f9f6f1c1a7a2f60a8f5a1a1d0c7d2f0b1a9e8d7c6b5a4f3e2d1c0b9a8";
const B: &str = "1b5b3d5f9f6f1c1a7a2f60a8f5a1a1d0c7d2f0b1a9e8d7c6b5a4f3e2d1c0b9a8";

fn around() -> Surroundings {
    Surroundings {
        has_client_ca: true,
        issuer: "https://chat.example".to_owned(),
    }
}

fn read_text(text: &str) -> Result<Vec<Caller>, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), text).expect("written");
    let mut report = Report::default();
    let (callers, _) = Callers::read(Some(file.path()), &around(), &mut report);
    report.finish().map_err(|mistakes| mistakes.to_string())?;
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
        callers[0].permissions.contains(Permission::TokenRefresh)
            && !callers[0].permissions.contains(Permission::TokenMint)
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
        load(Path::new("/nonexistent/callers.yaml"))
            .err()
            .is_some_and(|fault| !fault.contains("nonexistent"))
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let shown = read_text("callers: [{ name: a, permissions: [no.such] }, { name: b, more: 1 }]")
        .expect_err("faulty");
    assert_eq!(shown.lines().count(), 4, "{shown}");
}

#[test]
fn limits_are_read_and_a_burst_is_a_second_of_calls_unless_it_is_given() {
    let limits = |limits: &str| {
        let entry = format!("callers: [{{ name: a, token_sha256: [{A}], limits: {limits} }}]");
        read_text(&entry).map(|callers| callers[0].limits)
    };
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    for (text, rate, concurrent) in [
        ("{ per_second: 5 }", rate(5, 5), None),
        (
            "{ per_second: 5, burst: 50, concurrent: 1 }",
            rate(5, 50),
            Some(1),
        ),
        ("{ concurrent: 1000000 }", None, Some(1_000_000)),
    ] {
        assert_eq!(limits(text), Ok(Limits { rate, concurrent }), "{text}");
    }
    for (text, fault) in [
        ("{}", "has limits with neither per_second nor concurrent"),
        (
            "{ burst: 1 }",
            "has limits with a burst but without per_second",
        ),
        (
            "{ per_second: 0 }",
            "a per_second that is not a whole number from 1 to",
        ),
        (
            "{ per_second: 1, burst: 0 }",
            "a burst that is not a whole number from 1 to",
        ),
        (
            "{ concurrent: 1000001 }",
            "a concurrent that is not a whole number from 1 to",
        ),
        ("{ concurrent: 1, rps: 1 }", "has the unknown key rps"),
        ("{ per_second: 0.5 }", "is not of the shape"),
        ("{ per_second: -1 }", "is not of the shape"),
    ] {
        let shown = limits(text).expect_err(text);
        assert!(shown.contains(fault), "{text}: {shown}");
    }
}

#[test]
fn scopes_of_a_caller_are_names_of_its_own() {
    let read = |scopes: &str| {
        let text = format!("callers: [{{ name: a, token_sha256: [{A}], scopes: [{scopes}] }}]");
        read_text(&text)
    };
    let callers = read("tools.search, 'https://tools.example/write:all'").expect("good");
    assert_eq!(
        callers[0].scopes,
        ["tools.search", "https://tools.example/write:all"]
    );
    let many = vec!["x"; 101].join(", ");
    let long = "x".repeat(65);
    for (scopes, expected) in [
        ("'two words'", "has a scope that is not 1 to 64 visible"),
        ("''", "has a scope that is not 1 to 64 visible"),
        ("'a\"b'", "has a scope that is not 1 to 64 visible"),
        (&long, "has a scope that is not 1 to 64 visible"),
        (&many, "has more than 100 scopes"),
        (
            "token.read",
            "has the scope token.read, which is a permission",
        ),
    ] {
        let mistakes = read(scopes).expect_err(scopes);
        assert!(mistakes.contains(expected), "{mistakes}");
    }
}
