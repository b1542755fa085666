//! Words of the callers' file that it does not know.

use std::collections::BTreeMap;

/// The shape of the file.
pub(super) const SHAPE: &str = "callers: [{ name, token_sha256: [..], spiffe_id, dns_san, jwt: { issuer, audience, subject, jwks_url, jwks_file, ca_file, token_file }, permissions: [..], audiences: [..], scopes: [..], limits: { per_second, burst, concurrent } }]";
/// Longer words are not shown.
const MAX_SHOWN: usize = 64;

/// Keys that no field has.
pub(super) type Unknown = BTreeMap<String, serde_json::Value>;

/// A fault for each.
pub(super) fn unknown_keys(keys: &Unknown) -> Vec<String> {
    keys.keys()
        .map(|key| format!("has the unknown key {}; the shape is {SHAPE}", shown(key)))
        .collect()
}

/// A misspelt key or permission as it was written; text that could be a secret in the wrong place
/// is not shown.
pub(super) fn shown(word: &str) -> &str {
    let plain = word.len() <= MAX_SHOWN
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b"._*".contains(&b));
    if plain { word } else { "(not shown)" }
}
