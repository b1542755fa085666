//! Parsing of ID tokens before their signature is checked (OpenID Connect Core section 2).

use serde_json::{Map, Value};

use super::{Compact, object};

/// Checked before anything is parsed. ID tokens may list many groups, so this is more than for our
/// own tokens.
const MAX_LEN: usize = 64 * 1024;
/// Header members that hold a key or say where to get one. Such tokens are refused: keys come only
/// from the pinned issuer (RFC 8725 section 3.10).
const KEY_MEMBERS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// A well-formed ID token whose signature has not been checked yet.
#[derive(Debug)]
pub struct UnverifiedIdToken {
    /// `kid`, if the header has one.
    pub kid: Option<String>,
    /// The payload.
    pub claims: Map<String, Value>,
}

/// Reads an ID token whose `alg` is one of `algorithms`.
///
/// # Errors
/// The text says what is wrong with the token and quotes nothing of it.
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

/// The header's `kid`, if `typ` is absent or `JWT`, `alg` is one of these, and nothing in the header
/// is critical or a key.
pub(super) fn read_header(
    header: &Map<String, Value>,
    algorithms: &[&str],
) -> Result<Option<String>, &'static str> {
    if header.contains_key("crit") {
        return Err("its header has a crit member");
    }
    if KEY_MEMBERS.iter().any(|name| header.contains_key(*name)) {
        return Err("its header holds or names a key");
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case("JWT") => {}
        Some(_) => return Err("its typ is not JWT"),
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(_) => return Err("its kid is not a string"),
    };
    match header.get("alg") {
        Some(Value::String(alg)) if is_asymmetric(alg) && algorithms.contains(&alg.as_str()) => {
            Ok(kid)
        }
        _ => Err("its alg is not one of the allowed algorithms"),
    }
}

/// Symmetric algorithms are refused whatever is configured: whoever can verify with a shared secret
/// can also sign with it.
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
    fn a_payload_that_is_not_a_plain_object_is_refused() {
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
