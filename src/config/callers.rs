//! The backends that may call, and what each may do.

use std::collections::BTreeSet;

use crate::secret::{SecretString, random_token};

macro_rules! permissions {
    ($($variant:ident = $name:literal $sensitive:literal,)*) => {
        /// What a caller may be allowed, by service and group.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Permission {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the callers' file and in the protos.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Whether it has to be granted by its own name: a group such as `token.*` does not cover it.
            #[must_use]
            pub const fn is_sensitive(self) -> bool {
                match self {
                    $(Self::$variant => $sensitive,)*
                }
            }
        }
    };
}

permissions! {
    AuthSignIn = "auth.sign_in" false,
    AuthRead = "auth.read" false,
    AuthReadAny = "auth.read.any" true,
    TokenVerify = "token.verify" false,
    TokenRefresh = "token.refresh" false,
    TokenRevoke = "token.revoke" false,
    TokenRevokeAny = "token.revoke.any" true,
    TokenRead = "token.read" false,
    TokenReadAny = "token.read.any" true,
    TokenMint = "token.mint" true,
    ModerationReport = "moderation.report" false,
    ModerationCheck = "moderation.check" false,
    ModerationAdmin = "moderation.admin" false,
    FederationResolve = "federation.resolve" false,
    FederationTokens = "federation.tokens" true,
    FederationInline = "federation.inline" true,
    FederationTemplateEnv = "federation.template_env" true,
    FederationActAs = "federation.act_as" true,
}

impl Permission {
    /// What an entry of the callers' file grants: one permission by its name, or a group such as `token.*`.
    pub(super) fn covered_by(entry: &str) -> Option<Vec<Self>> {
        let all = Self::ALL.iter().copied();
        let covered: Vec<_> = match entry.strip_suffix(".*") {
            Some(service) => all
                .filter(|p| !p.is_sensitive() && p.name().split('.').next() == Some(service))
                .collect(),
            None => all.filter(|p| p.name() == entry).collect(),
        };
        (!covered.is_empty()).then_some(covered)
    }
}

/// How every caller's token begins.
pub const TOKEN_PREFIX: &str = "csc_";

/// A fresh caller's token: `csc_`, 256 random bits in base64url, and the CRC-32 of all before it in hex.
///
/// Prefix and checksum let secret scanners tell a real token from text that only looks like one.
#[must_use]
pub fn new_token() -> SecretString {
    let body = format!("{TOKEN_PREFIX}{}", random_token());
    let checksum = crc32fast::hash(body.as_bytes());
    SecretString::from(format!("{body}{checksum:08x}"))
}

/// The name of the caller of a service without configured callers.
pub const OPEN: &str = "open";

/// Who may call.
#[derive(Debug)]
pub enum Callers {
    /// No caller is configured: everyone on loopback is the caller `open` with every permission.
    Open,
    /// COUNTERSIGN_CALLERS.
    Listed(Vec<Caller>),
}

/// A backend that may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name; sessions belong to it.
    pub name: String,
    /// SHA-256 of each of its tokens (`csc_…`), two at most.
    pub token_sha256: Vec<[u8; 32]>,
    /// What it may do.
    pub permissions: BTreeSet<Permission>,
    /// The only audiences it may verify tokens for; all where empty.
    pub audiences: Vec<String>,
}

#[cfg(test)]
mod tests {
    use crate::secret::ExposeSecret;

    use super::*;

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

    #[test]
    fn a_group_never_covers_what_is_sensitive() {
        let covered = Permission::covered_by("token.*").expect("a group");
        assert!(covered.contains(&Permission::TokenVerify));
        assert!(
            covered
                .iter()
                .all(|p| !p.is_sensitive() && p.name().starts_with("token."))
        );
        assert_eq!(
            Permission::covered_by("token.mint"),
            Some(vec![Permission::TokenMint])
        );
        for text in ["*", ".*", "tok.*", "token", "token.read.*", "token.verify "] {
            assert_eq!(Permission::covered_by(text), None, "{text}");
        }
    }
}
