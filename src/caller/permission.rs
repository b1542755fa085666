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

            /// Whether it has to be granted by its own name: a group such as `token.*` does not
            /// cover it.
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
    TokenExchange = "token.exchange" false,
    TokenKeys = "token.keys" true,
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
    /// The permission of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.name() == name)
    }

    /// What an entry of the callers' file grants: one permission by its name, or a group such as
    /// `token.*`.
    #[must_use]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    #[must_use]
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    #[must_use]
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
    use std::collections::BTreeSet;

    use super::*;

    const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));

    #[test]
    fn the_readme_lists_every_rpc_with_its_permission() {
        let listed: BTreeSet<_> = README
            .lines()
            .skip_while(|line| !line.starts_with("| RPC | Permission |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|row| {
                let cells: Vec<_> = row
                    .split('|')
                    .map(|cell| cell.trim().replace('`', ""))
                    .collect();
                (cells[1].clone(), cells[2].clone())
            })
            .collect();
        let known: BTreeSet<_> = RPCS
            .iter()
            .map(|(path, permission)| {
                let rpc = path.trim_start_matches("/countersign.v1.").to_owned();
                (rpc, permission.name().to_owned())
            })
            .collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn the_readme_lists_every_permission_and_whether_it_is_sensitive() {
        for permission in Permission::ALL {
            let sensitive = if permission.is_sensitive() { "yes" } else { "" };
            let row = format!("| `{}` | {sensitive}", permission.name());
            assert!(README.lines().any(|line| line.starts_with(&row)), "{row}");
        }
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
