//! The profile of ID tokens, before their signature is checked (OpenID Connect Core section 2).

use serde_json::{Map, Value};

use super::{Compact, object};

const MAX_LEN: usize = 64 * 1024;
/// Members that tell the reader where to find a key: keys come from the pinned issuer alone (RFC 8725 section 3.10).
const KEY_BEARERS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// An ID token of the right form whose signature nobody has checked yet.
#[derive(Debug)]
pub struct UnverifiedIdToken {
    /// `kid`, where there is one.
    pub kid: Option<String>,
    /// The payload.
    pub claims: Map<String, Value>,
}

/// Reads an ID token whose `alg` is one of `algorithms`.
///
/// # Errors
/// What is wrong with it, in words that hold nothing of it.
pub fn parse_id_token(token: &str, algorithms: &[&str]) -> Result<UnverifiedIdToken, &'static str> {
    let compact =
        Compact::split(token, MAX_LEN).ok_or("it is not a compact JWS of at most 64 KiB")?;
    let header = compact
        .header()
        .and_then(|json| object(&json))
        .ok_or("its header is not an object without repeated members")?;
    let kid = read_header(&header, algorithms)?;
    let claims = compact
        .payload()
        .and_then(|json| object(&json))
        .ok_or("its payload is not an object without repeated members")?;
    Ok(UnverifiedIdToken { kid, claims })
}

fn read_header(
    header: &Map<String, Value>,
    algorithms: &[&str],
) -> Result<Option<String>, &'static str> {
    if header.contains_key("crit") {
        return Err("its header has critical members");
    }
    if KEY_BEARERS.iter().any(|name| header.contains_key(*name)) {
        return Err("its header brings a key of its own");
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        Some(_) => return Err("it is a token of another type"),
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("its kid is not text"),
    };
    match header.get("alg") {
        Some(Value::String(alg)) if is_asymmetric(alg) && algorithms.contains(&alg.as_str()) => {
            Ok(kid)
        }
        _ => Err("its algorithm is not one of those configured"),
    }
}

/// Whatever the configuration says: with a shared secret, whoever verifies can also sign.
fn is_asymmetric(alg: &str) -> bool {
    !alg.eq_ignore_ascii_case("none") && !alg.to_ascii_uppercase().starts_with("HS")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jose::encode;

    fn parse(header: &str, payload: &str) -> Result<UnverifiedIdToken, &'static str> {
        parse_id_token(
            &format!("{}.{}.c2ln", encode(header), encode(payload)),
            &["RS256", "HS256", "none"],
        )
    }

    #[test]
    fn unknown_header_members_are_ignored_and_the_claims_are_read() {
        let token = parse(
            r#"{"alg":"RS256","kid":"k","typ":"jwt","x5t":"x","pi.atm":"y"}"#,
            r#"{"sub":"ann"}"#,
        )
        .expect("parses");
        assert_eq!(token.kid.as_deref(), Some("k"));
        assert_eq!(token.claims["sub"], "ann");
        assert!(parse(r#"{"alg":"RS256"}"#, "{}").is_ok());
    }

    #[test]
    fn a_header_that_could_mislead_is_refused() {
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"nOnE"}"#,
            r#"{"alg":""}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"ES256"}"#,
            r#"{"alg":["RS256"]}"#,
            "{}",
            "[]",
            r#"{"alg":"RS256","alg":"RS256"}"#,
            r#"{"alg":"RS256","crit":["exp"]}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","jwk":{}}"#,
            r#"{"alg":"RS256","jku":"https://evil.example"}"#,
            r#"{"alg":"RS256","x5u":"https://evil.example"}"#,
            r#"{"alg":"RS256","x5c":[]}"#,
            r#"{"alg":"RS256","typ":"at+jwt"}"#,
            r#"{"alg":"RS256","typ":"logout+jwt"}"#,
            r#"{"alg":"RS256","typ":1}"#,
            r#"{"alg":"RS256","kid":1}"#,
        ] {
            assert!(parse(header, "{}").is_err(), "{header}");
        }
    }

    #[test]
    fn a_payload_that_is_no_plain_object_is_refused() {
        for payload in ["", "[]", "null", r#"{"sub":"a","sub":"b"}"#, "{} {}"] {
            assert!(parse(r#"{"alg":"RS256"}"#, payload).is_err(), "{payload}");
        }
        assert!(
            parse(
                r#"{"alg":"RS256"}"#,
                &format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_LEN))
            )
            .is_err()
        );
        assert!(parse_id_token("a.b", &["RS256"]).is_err());
        assert!(parse_id_token("", &["RS256"]).is_err());
    }
    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn arbitrary_parts_without_an_algorithm_are_refused(header in ".{0,80}", payload in ".{0,80}") {
            prop_assert!(parse(&header, &payload).is_err());
        }
    }
}
