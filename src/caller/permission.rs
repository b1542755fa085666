//! What a caller may be allowed.

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
    pub fn covered_by(entry: &str) -> Option<Vec<Self>> {
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

include!(concat!(env!("OUT_DIR"), "/permissions.rs"));

/// A set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let bit = |permission| 1 << permission as u64;
        Self(
            permissions
                .into_iter()
                .fold(0, |bits, permission| bits | bit(permission)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
