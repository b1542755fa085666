//! The backends that may call, and what each may do.

use std::collections::BTreeSet;

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
