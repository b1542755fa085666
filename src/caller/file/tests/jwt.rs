//! What callers' JWTs say, and where their keys are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// What is wrong with a caller with this `jwt`; `@keys`, `@none` and `@ca` stand for files with keys,
/// without keys and with a certificate.
fn jwt_faults(jwt: &str) -> Result<Vec<Caller>, String> {
    let directory = tempfile::tempdir().expect("a directory");
    let [keys, ca, empty] = ["keys", "ca", "empty"].map(|name| directory.path().join(name));
    let key = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    fs::write(&keys, key).expect("written");
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let der = STANDARD.encode(authority.expect("a certificate").cert.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    fs::write(&ca, pem).expect("written");
    fs::write(&empty, r#"{"keys":[]}"#).expect("written");
    let shown = |path: &Path| path.display().to_string();
    let jwt = jwt
        .replace("@keys", &shown(&keys))
        .replace("@ca", &shown(&ca))
        .replace("@none", &shown(&empty));
    read_text(&format!("callers: [{{ name: a, jwt: {jwt} }}]"))
}

#[test]
fn a_jwt_with_its_keys_is_read() {
    for keys in [
        "jwks_file: '@keys'",
        "jwks_url: 'https://10.96.0.1/openid/v1/jwks', ca_file: '@ca', token_file: /run/token",
        "jwks_url: 'https://kubernetes.default.svc/openid/v1/jwks'",
        "jwks_url: 'http://localhost:8001/openid/v1/jwks'",
    ] {
        let jwt = format!("{{ issuer: 'https://i.example', audience: a, subject: 's:a', {keys} }}");
        let callers = jwt_faults(&jwt).expect("good");
        let jwt = callers[0].jwt.as_ref().expect("a JWT");
        assert_eq!((&*jwt.issuer, &*jwt.subject), ("https://i.example", "s:a"));
        let is_file = matches!(jwt.keys, crate::caller::key_source::KeySource::File(_));
        assert_eq!(is_file, keys.starts_with("jwks_file"), "{keys}");
    }
}

fn assert_fault(jwt: &str, expected: &str) {
    let shown = jwt_faults(jwt).expect_err(jwt);
    let is_told = shown.contains(expected) && !shown.contains("canary");
    assert!(is_told, "{jwt}: {shown}");
}

#[test]
fn a_jwt_says_who_issued_it_for_whom_and_about_whom() {
    for (jwt, expected) in [
        ("audience: a, subject: s", "has a jwt without issuer"),
        ("issuer: i, subject: s", "has a jwt without audience"),
        ("issuer: i, audience: a", "has a jwt without subject"),
        (
            "issuer: i, audience: 'a canary', subject: s",
            "with a audience that is not",
        ),
        (
            "issuer: 'https://chat.example', audience: a, subject: s",
            "jwt of COUNTERSIGN_ISSUER",
        ),
        (
            "issuer: i, audience: a, subject: s, aud: canary",
            "has the unknown key aud",
        ),
        ("issuer: [canary]", "is not of the shape"),
    ] {
        assert_fault(&format!("{{ {jwt}, jwks_file: '@keys' }}"), expected);
    }
    let all = jwt_faults("{ audience: a }").expect_err("many");
    assert_eq!(all.lines().count(), 3, "{all}");
    let jwt = "jwt: { issuer: i, audience: a, subject: s, jwks_url: 'https://a.example' }";
    let twice = format!("callers: [{{ name: a, {jwt} }}, {{ name: b, {jwt} }}]");
    let shown = read_text(&twice).expect_err("twice");
    let expected = "caller b has the issuer, audience and subject of another caller";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_jwt_has_its_keys_in_one_place() {
    let (other, url) = ("are for a jwks_url", "jwks_url: 'https://a.example'");
    for (keys, expected) in [
        ("", "needs a jwks_url or a jwks_file, and not both"),
        (&*format!("jwks_file: '@keys', {url}"), "and not both"),
        ("jwks_file: '@keys', ca_file: '@ca'", other),
        ("jwks_file: '@keys', token_file: '@keys'", other),
        ("jwks_file: /canary", "has a jwks_file that cannot be read"),
        ("jwks_file: '@ca'", "has a jwks_file that is not a JWK set"),
        (
            "jwks_file: '@none'",
            "has a jwks_file that is not a JWK set",
        ),
        ("jwks_url: canary", "has a jwks_url that is not a URL"),
        (
            "jwks_url: 'https://a.example/#canary'",
            "has a jwks_url that is not a URL",
        ),
        (
            "jwks_url: 'http://canary.example'",
            "has a jwks_url that may not be used",
        ),
        (
            "jwks_url: 'https://u:canary@a.example'",
            "has a jwks_url that may not be used",
        ),
        (
            "jwks_url: 'https://[::ffff:10.0.0.1]/'",
            "has a jwks_url that may not be used",
        ),
        (
            &format!("{url}, ca_file: /canary"),
            "has a ca_file that cannot be read",
        ),
        (
            &format!("{url}, ca_file: '@keys'"),
            "has a ca_file that holds no certificate",
        ),
    ] {
        let jwt = format!("{{ issuer: i, audience: a, subject: s, {keys} }}");
        assert_fault(&jwt, expected);
    }
}
