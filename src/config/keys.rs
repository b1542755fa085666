//! The root keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::{Keyring, RootKey};

use super::database::Database;
use super::reader::Reader;

const KEYS: &str = "COUNTERSIGN_ENCRYPTION_KEYS";
const CREDS_KEY: &str = "CREDS_KEY";
/// The key id of CREDS_KEY in the keyring.
const CREDS_ID: &str = "creds";
/// Secrets of LibreChat that are of no use here. They are read because a published or repeated one
/// is a danger to the installation.
pub(super) const OTHERS: [&str; 4] = [
    "JWT_REFRESH_SECRET",
    "CREDS_IV",
    "OPENID_SESSION_SECRET",
    "SAML_SESSION_SECRET",
];

/// Reads COUNTERSIGN_ENCRYPTION_KEYS, or CREDS_KEY as the only key.
pub(super) fn read(r: &mut Reader<'_>, database: &Database) -> Option<Keyring> {
    for name in OTHERS {
        r.secret(name);
    }
    let configured = [KEYS, CREDS_KEY].map(|name| r.is_set(name));
    let ring = r.parse_secret(KEYS, parse_ring);
    let creds = r.parse_secret(CREDS_KEY, parse_creds);
    match configured {
        [true, true] => r.mistake(KEYS, "is set, and so is CREDS_KEY: set only one of them"),
        [false, false] if matches!(database, Database::Postgres(_)) => {
            r.mistake(
                KEYS,
                "must be set with PostgreSQL (or LibreChat's CREDS_KEY instead)",
            );
        }
        _ => {}
    }
    ring.or(creds)
}

/// Parses `id:base64,id:base64`; the first key seals.
fn parse_ring(text: &str) -> Result<Keyring, &'static str> {
    let mut keys = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let key = parse_key(entry)?;
        if keys.iter().any(|other: &RootKey| other.id() == key.id()) {
            return Err("has the same key id twice");
        }
        keys.push(key);
    }
    let writer = keys.remove(0);
    Ok(Keyring::new(writer, keys))
}

fn parse_key(entry: &str) -> Result<RootKey, &'static str> {
    let (id, key) = entry
        .split_once(':')
        .ok_or("must be id:base64; separate several keys by commas")?;
    let bytes = STANDARD
        .decode(key.trim())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let bytes =
        bytes.ok_or("has a key that is not 32 bytes in base64 (openssl rand -base64 32)")?;
    refuse_placeholder(&bytes)?;
    RootKey::new(id.trim(), bytes)
        .ok_or("has a key id that is not 1 to 32 letters, digits, - and _")
}

/// A key whose bytes are all equal is a placeholder that somebody forgot to replace.
fn refuse_placeholder(key: &[u8; 32]) -> Result<(), &'static str> {
    if key.iter().all(|byte| *byte == key[0]) {
        Err("has a key whose bytes are all equal; make a random one")
    } else {
        Ok(())
    }
}

fn parse_creds(text: &str) -> Result<Keyring, &'static str> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| "must be 64 hexadecimal digits (openssl rand -hex 32)")?;
    refuse_placeholder(&bytes)?;
    let key = RootKey::new(CREDS_ID, bytes).ok_or("cannot be used")?;
    Ok(Keyring::new(key, Vec::new()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::env::Env;
    use super::*;

    const A: &str = "a:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
    const B: &str = "b:AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=";

    fn ids(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let env = Env::from_pairs(pairs.iter().copied());
        let mut r = Reader::new(&env);
        let ring = read(&mut r, &Database::Sqlite(PathBuf::new()));
        r.finish()
            .finish()
            .map_err(|mistakes| mistakes.to_string())?;
        Ok(ring
            .iter()
            .flat_map(Keyring::keys)
            .map(|key| key.id().to_owned())
            .collect())
    }

    #[test]
    fn the_first_key_writes() {
        assert_eq!(
            ids(&[(KEYS, &format!("{A}, {B}"))]),
            Ok(vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            ids(&[(CREDS_KEY, &"0f1e".repeat(16))]),
            Ok(vec!["creds".to_owned()])
        );
        assert_eq!(ids(&[]), Ok(Vec::new()));
    }

    #[test]
    fn a_malformed_ring_is_a_mistake_without_the_key() {
        for text in [
            &format!("{A},{A}"),
            &format!("{A},"),
            "AQEB",
            "a:AQEB",
            "a b:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=",
            "a:!",
        ] {
            let shown = ids(&[(KEYS, text)]).expect_err(text);
            assert!(
                shown.starts_with(KEYS) && !shown.contains("AQEB"),
                "{shown}"
            );
        }
        assert!(ids(&[(CREDS_KEY, "0f")]).is_err());
        assert!(ids(&[(CREDS_KEY, &"0f".repeat(32))]).is_err());
        assert!(ids(&[(CREDS_KEY, &"0f1e".repeat(16)), (KEYS, A)]).is_err());
    }

    #[test]
    fn published_sample_secrets_are_refused() {
        for (name, value) in [
            (
                "JWT_REFRESH_SECRET",
                "eaa5191f2914e30b9387fd84e254e4ba6fc51b4654968a9b0803b456a54b8418",
            ),
            (
                "CREDS_KEY",
                "f34be427ebb29de8d88c107a71546019685ed8b241d8f2ed00c3df97ad2566f0",
            ),
            ("CREDS_IV", "e2341419ec3dd3d19b13a1a87fafcbfb"),
            ("JWT_REFRESH_SECRET", "refresh_secret"),
        ] {
            assert_eq!(
                ids(&[(name, value)]),
                Err(format!(
                    "{name} is the value of a public sample file; make one of your own"
                ))
            );
        }
        assert!(ids(&[("JWT_REFRESH_SECRET", "a value of one's own")]).is_ok());
    }
}
