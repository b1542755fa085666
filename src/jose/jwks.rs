//! Which keys of a provider's key set may verify signatures.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{decode, object};

/// The most keys that a set may have. A token without a `kid` may be tried with each of them.
const MAX_KEYS: usize = 100;
/// RFC 7518 section 3.3.
const MIN_RSA_BITS: usize = 2048;
/// Smaller public exponents are not accepted by FIPS 186-5 either.
const MIN_RSA_EXPONENT: u64 = 65_537;

/// The public signature keys of a JWK set; `None` if the text is not a JWK set (RFC 7517 section
/// 5) or has more than 100 keys.
///
/// Symmetric and private keys, keys for other uses and weak RSA keys are left out, and so is every
/// key that shares its `kid` with another.
#[must_use]
pub fn provider_keys(json: &[u8]) -> Option<Vec<Map<String, Value>>> {
    let Some(Value::Array(keys)) = object(json)?.remove("keys") else {
        return None;
    };
    if keys.len() > MAX_KEYS {
        return None;
    }
    let keys = keys.into_iter().filter_map(into_object);
    let mut sound: Vec<_> = keys.filter(may_verify).collect();
    let mut uses: HashMap<String, usize> = HashMap::new();
    for kid in sound.iter().filter_map(kid) {
        *uses.entry(kid.to_owned()).or_default() += 1;
    }
    // A `kid` that several keys share does not identify the one that signed.
    sound.retain(|key| kid(key).is_none_or(|kid| uses[kid] == 1));
    Some(sound)
}

fn kid(key: &Map<String, Value>) -> Option<&str> {
    key.get("kid").and_then(Value::as_str)
}

fn into_object(key: Value) -> Option<Map<String, Value>> {
    match key {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn may_verify(key: &Map<String, Value>) -> bool {
    let known_type = match key.get("kty").and_then(Value::as_str) {
        Some("RSA") => is_strong_rsa(key),
        Some("EC" | "OKP") => true,
        _ => false,
    };
    let named = key.get("kid").is_none_or(Value::is_string);
    known_type
        && named
        && is_for_signatures(key)
        && !["d", "k"].iter().any(|name| key.contains_key(*name))
}

fn is_for_signatures(key: &Map<String, Value>) -> bool {
    let by_use = key.get("use").is_none_or(|value| value == "sig");
    let by_ops = key.get("key_ops").is_none_or(|ops| {
        ops.as_array()
            .is_some_and(|ops| ops.iter().any(|op| op == "verify"))
    });
    by_use && by_ops
}

fn is_strong_rsa(key: &Map<String, Value>) -> bool {
    let number = |name| key.get(name).and_then(Value::as_str).and_then(decode);
    let (Some(modulus), Some(exponent)) = (number("n"), number("e")) else {
        return false;
    };
    bits(&modulus) >= MIN_RSA_BITS && is_strong_exponent(&exponent)
}

/// The length of a big-endian number in bits, without leading zeros.
fn bits(number: &[u8]) -> usize {
    let leading_zeros: usize = match number.iter().position(|byte| *byte != 0) {
        Some(first) => 8 * first + number[first].leading_zeros() as usize,
        None => 8 * number.len(),
    };
    8 * number.len() - leading_zeros
}

fn is_strong_exponent(bytes: &[u8]) -> bool {
    bytes.len() <= 8 && {
        let exponent = bytes
            .iter()
            .fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        exponent >= MIN_RSA_EXPONENT && exponent % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::encode;
    use serde_json::json;

    fn rsa(kid: &str, bits: usize, exponent: &[u8]) -> Value {
        json!({"kty": "RSA", "kid": kid, "n": encode(vec![0xff; bits / 8]), "e": encode(exponent)})
    }

    fn kept(keys: &[Value]) -> Vec<String> {
        let set = json!({ "keys": keys }).to_string();
        let keys = provider_keys(set.as_bytes()).expect("a key set");
        keys.iter()
            .map(|key| {
                key.get("kid")
                    .and_then(Value::as_str)
                    .unwrap_or("-")
                    .to_owned()
            })
            .collect()
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    const E: &[u8] = &[1, 0, 1];

    #[test]
    fn signature_keys_are_kept() {
        let ec = json!({"kty": "EC", "crv": "P-256", "kid": "ec", "x": "", "y": "", "use": "sig"});
        let okp =
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "okp", "x": "", "key_ops": ["verify"]});
        assert_eq!(kept(&[rsa("rsa", 2048, E), ec, okp]), ["rsa", "ec", "okp"]);
    }

    #[test]
    fn keys_that_may_not_verify_are_left_out() {
        for key in [
            json!({"kty": "oct", "k": "AAAA"}),
            json!({"kty": "XX"}),
            json!("text"),
            with(rsa("a", 2048, E), "use", json!("enc")),
            with(rsa("a", 2048, E), "use", json!(["sig"])),
            with(rsa("a", 2048, E), "key_ops", json!(["sign"])),
            with(rsa("a", 2048, E), "key_ops", json!("verify")),
            with(rsa("a", 2048, E), "d", json!("AAAA")),
            with(rsa("a", 2048, E), "kid", json!(7)),
        ] {
            assert_eq!(
                kept(std::slice::from_ref(&key)),
                Vec::<String>::new(),
                "{key}"
            );
        }
    }

    #[test]
    fn weak_rsa_keys_are_left_out() {
        assert!(kept(&[rsa("a", 2040, E)]).is_empty());
        assert!(
            kept(&[with(
                rsa("a", 2048, E),
                "n",
                json!(encode([vec![0; 8], vec![0xff; 255]].concat()))
            )])
            .is_empty()
        );
        for exponent in [&[1][..], &[3], &[0, 0, 3], &[1, 0, 0], &[], &[1; 9]] {
            assert!(kept(&[rsa("a", 2048, exponent)]).is_empty(), "{exponent:?}");
        }
    }

    #[test]
    fn keys_that_share_a_kid_are_left_out() {
        assert_eq!(
            kept(&[rsa("a", 2048, E), rsa("a", 3072, E), rsa("b", 2048, E)]),
            ["b"]
        );
    }

    #[test]
    fn a_set_of_more_than_a_hundred_keys_is_refused() {
        let set = |count: usize| {
            let key = |number: usize| json!({"kty": "OKP", "kid": number.to_string(), "x": ""});
            let keys: Vec<Value> = (0..count).map(key).collect();
            provider_keys(json!({ "keys": keys }).to_string().as_bytes())
        };
        assert_eq!(set(100).map(|keys| keys.len()), Some(100));
        assert!(set(101).is_none());
        let empty = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(500_000));
        assert!(provider_keys(empty.as_bytes()).is_none());
    }

    #[test]
    fn anything_but_a_key_set_is_refused() {
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            assert!(provider_keys(text.as_bytes()).is_none(), "{text}");
        }
    }
}
