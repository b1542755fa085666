//! Callers' tokens.

use crate::secret::{SecretString, random_token};

/// How every caller's token begins.
pub const TOKEN_PREFIX: &str = "csc_";

/// A fresh caller's token: `csc_`, 256 random bits in base64url, and the CRC-32 of all before it in
/// hex.
///
/// Prefix and checksum let secret scanners tell a real token from text that only looks like one.
#[must_use]
pub fn new_token() -> SecretString {
    let body = format!("{TOKEN_PREFIX}{}", random_token());
    let checksum = crc32fast::hash(body.as_bytes());
    SecretString::from(format!("{body}{checksum:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret as _;

    #[test]
    fn a_token_carries_its_prefix_and_checksum() {
        let token = new_token();
        let (body, checksum) = token.expose_secret().split_at(4 + 43);
        assert!(body.starts_with(TOKEN_PREFIX));
        assert_eq!(
            checksum,
            format!("{:08x}", crc32fast::hash(body.as_bytes()))
        );
        assert_ne!(new_token().expose_secret(), token.expose_secret());
    }
}
