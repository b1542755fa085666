//! `LibreChat`'s placeholder names, and the types that describe how they resolve.

use crate::error::Reason;

/// The prefix of every placeholder that is not a custom variable.
pub const RESERVED_PREFIX: &str = "LIBRECHAT_";

/// A field of the account, as in `{{LIBRECHAT_USER_<FIELD>}}`: the 18 fields that `LibreChat`
/// allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserField {
    Id,
    Name,
    Username,
    Email,
    Provider,
    Role,
    GoogleId,
    FacebookId,
    OpenIdId,
    SamlId,
    LdapId,
    GithubId,
    DiscordId,
    AppleId,
    EmailVerified,
    TwoFactorEnabled,
    TermsAccepted,
    TermsAcceptedAt,
}

impl UserField {
    /// Every field with `LibreChat`'s name for it (`googleId`).
    pub const ALL: [(Self, &'static str); 18] = [
        (Self::Id, "id"),
        (Self::Name, "name"),
        (Self::Username, "username"),
        (Self::Email, "email"),
        (Self::Provider, "provider"),
        (Self::Role, "role"),
        (Self::GoogleId, "googleId"),
        (Self::FacebookId, "facebookId"),
        (Self::OpenIdId, "openidId"),
        (Self::SamlId, "samlId"),
        (Self::LdapId, "ldapId"),
        (Self::GithubId, "githubId"),
        (Self::DiscordId, "discordId"),
        (Self::AppleId, "appleId"),
        (Self::EmailVerified, "emailVerified"),
        (Self::TwoFactorEnabled, "twoFactorEnabled"),
        (Self::TermsAccepted, "termsAccepted"),
        (Self::TermsAcceptedAt, "termsAcceptedAt"),
    ];
}

/// A field of the request's body, as in `{{LIBRECHAT_BODY_<FIELD>}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::enum_variant_names, reason = "LibreChat's names")]
pub enum BodyField {
    ConversationId,
    ParentMessageId,
    MessageId,
}

impl BodyField {
    /// Every field.
    pub const ALL: [Self; 3] = [Self::ConversationId, Self::ParentMessageId, Self::MessageId];

    /// The key of the field in the request's `body` (`conversationId`).
    pub const fn key(self) -> &'static str {
        match self {
            Self::ConversationId => "conversationId",
            Self::ParentMessageId => "parentMessageId",
            Self::MessageId => "messageId",
        }
    }
}

/// A field of a federated identity, as in `{{LIBRECHAT_OPENID_<FIELD>}}`; `TOKEN` means
/// `ACCESS_TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpenIdField {
    AccessToken,
    IdToken,
    UserId,
    UserEmail,
    UserName,
    /// The access token's expiry in Unix seconds.
    ExpiresAt,
    /// A claim of the verified ID token by its name (`{{LIBRECHAT_OPENID_CLAIM_groups}}`).
    Claim(String),
}

impl OpenIdField {
    /// Whether the value is a bearer credential of the user.
    pub const fn is_token(&self) -> bool {
        matches!(self, Self::AccessToken | Self::IdToken)
    }
}

/// A placeholder of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Placeholder {
    User(UserField),
    Body(BodyField),
    OpenId {
        field: OpenIdField,
        /// The provider id after `@`, if there is one.
        provider: Option<String>,
    },
    /// `{{LIBRECHAT_GRAPH_ACCESS_TOKEN}}`, a token from an on-behalf-of exchange.
    Graph,
    /// `{{AnyName}}`: a custom variable, or plain text if the request has no such variable.
    Custom(String),
    /// A custom variable that the server's `customUserVars` declares.
    Declared(String),
    /// A name that never resolves, because it is probably a misspelt one: it begins like
    /// `LibreChat`'s but is not one of them, or it differs from a declared one only by case or
    /// blanks.
    Reserved(String),
    /// `${NAME}`: the operator's text from the environment.
    Env(String),
}

impl Placeholder {
    /// The placeholder for a name between double braces.
    pub fn from_name(name: &str) -> Self {
        match name.strip_prefix(RESERVED_PREFIX).and_then(known) {
            Some(placeholder) => placeholder,
            None if is_reserved(name) => Self::Reserved(name.to_owned()),
            None => Self::Custom(name.to_owned()),
        }
    }

    /// Whether the value is a bearer credential of the user.
    pub const fn is_token(&self) -> bool {
        match self {
            Self::Graph => true,
            Self::OpenId { field, .. } => field.is_token(),
            _ => false,
        }
    }
}

/// Whether a name begins like `LibreChat`'s, whatever its case and its blanks.
pub fn is_reserved(name: &str) -> bool {
    let mut name = folded(name, is_blank);
    folded(RESERVED_PREFIX, is_blank).all(|c| name.next() == Some(c))
}

/// A name in lower case and without the characters that are ignored: names that differ only by
/// these are the same in this form.
pub fn folded(name: &str, is_ignored: fn(char) -> bool) -> impl Iterator<Item = char> {
    name.chars()
        .filter(move |c| !is_ignored(*c))
        .map(|c| c.to_ascii_lowercase())
}

/// White space, control characters, and characters of no width.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn known(rest: &str) -> Option<Placeholder> {
    if rest == "GRAPH_ACCESS_TOKEN" {
        return Some(Placeholder::Graph);
    }
    let (kind, field) = rest.split_once('_')?;
    match kind {
        "USER" => find_upper(&UserField::ALL, field).map(Placeholder::User),
        "BODY" => find_upper(&BodyField::ALL.map(|f| (f, f.key())), field).map(Placeholder::Body),
        "OPENID" => openid(field),
        _ => None,
    }
}

fn find_upper<T: Copy>(fields: &[(T, &str)], name: &str) -> Option<T> {
    let same = |field: &str| {
        field.len() == name.len()
            && field
                .bytes()
                .map(|b| b.to_ascii_uppercase())
                .eq(name.bytes())
    };
    fields
        .iter()
        .find(|(_, field)| same(field))
        .map(|(value, _)| *value)
}

fn openid(text: &str) -> Option<Placeholder> {
    let (name, provider) = match text.split_once('@') {
        None => (text, None),
        Some((name, provider)) if is_provider_id(provider) => (name, Some(provider.to_owned())),
        Some(_) => return None,
    };
    let field = match name {
        "TOKEN" | "ACCESS_TOKEN" => OpenIdField::AccessToken,
        "ID_TOKEN" => OpenIdField::IdToken,
        "USER_ID" => OpenIdField::UserId,
        "USER_EMAIL" => OpenIdField::UserEmail,
        "USER_NAME" => OpenIdField::UserName,
        "EXPIRES_AT" => OpenIdField::ExpiresAt,
        _ => OpenIdField::Claim(
            name.strip_prefix("CLAIM_")
                .filter(|c| is_claim_name(c))?
                .to_owned(),
        ),
    };
    Some(Placeholder::OpenId { field, provider })
}

fn is_provider_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_claim_name(text: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'/' | b'-');
    !text.is_empty() && text.bytes().all(allowed)
}

/// Where a value is used; this decides how it is written and what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    Header,
    Url,
    Env,
    Text,
    /// An argument of a command.
    Argument,
}

/// What happens to an entry with a placeholder that does not resolve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnresolved {
    /// The whole call fails.
    #[default]
    Fail,
    /// The entry is left out; if it is a URL, the call fails.
    Omit,
    /// The placeholder becomes empty text; an entry with a credential that lacks its secret is left
    /// out.
    Empty,
    /// The placeholder stays as it was written.
    Keep,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident $reason:ident,)*) => {
        /// The outcome of one placeholder.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Status {
            Resolved,
            $($(#[$doc])* $variant,)*
        }

        impl Status {
            /// Why a call fails if a placeholder has this status; `None` for one that resolved.
            pub fn reason(self) -> Option<Reason> {
                match self {
                    Self::Resolved => None,
                    $(Self::$variant => Some(Reason::$reason),)*
                }
            }
        }
    };
}

statuses! {
    /// There is no value for it.
    Missing ValueMissing,
    /// The token has expired and could not be renewed.
    Expired TokenExpired,
    /// The user did not sign in at a provider that has the value.
    NotFederated NotFederated,
    /// The placeholder is not allowed in this place.
    NotAllowed PlaceholderNotAllowed,
    /// The user has to sign in at the provider again.
    ReconnectRequired ReconnectRequired,
    /// There is no placeholder of this name.
    UnknownName PlaceholderUnknown,
    /// The value cannot be used safely in this place.
    UnsafeValue ValueUnsafe,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn openid(field: OpenIdField, provider: Option<&str>) -> Placeholder {
        let provider = provider.map(str::to_owned);
        Placeholder::OpenId { field, provider }
    }

    #[test]
    fn every_user_field_is_known_by_its_upper_case_name() {
        for (field, name) in UserField::ALL {
            let upper = format!("LIBRECHAT_USER_{}", name.to_uppercase());
            assert_eq!(Placeholder::from_name(&upper), Placeholder::User(field));
        }
    }

    #[test]
    fn every_body_field_is_known_by_its_upper_case_name() {
        for field in BodyField::ALL {
            let upper = format!("LIBRECHAT_BODY_{}", field.key().to_uppercase());
            assert_eq!(Placeholder::from_name(&upper), Placeholder::Body(field));
        }
    }

    #[test]
    fn the_seven_openid_names_are_known() {
        for (name, field) in [
            ("TOKEN", OpenIdField::AccessToken),
            ("ACCESS_TOKEN", OpenIdField::AccessToken),
            ("ID_TOKEN", OpenIdField::IdToken),
            ("USER_ID", OpenIdField::UserId),
            ("USER_EMAIL", OpenIdField::UserEmail),
            ("USER_NAME", OpenIdField::UserName),
            ("EXPIRES_AT", OpenIdField::ExpiresAt),
        ] {
            let name = format!("LIBRECHAT_OPENID_{name}");
            assert_eq!(Placeholder::from_name(&name), openid(field, None));
        }
    }

    #[test]
    fn an_openid_name_may_name_its_provider() {
        let token = Placeholder::from_name("LIBRECHAT_OPENID_TOKEN@entra-2");
        assert_eq!(token, openid(OpenIdField::AccessToken, Some("entra-2")));
    }

    #[test]
    fn a_claim_keeps_its_case() {
        let claim = Placeholder::from_name("LIBRECHAT_OPENID_CLAIM_https://x.io/Roles@okta");
        let name = OpenIdField::Claim("https://x.io/Roles".to_owned());
        assert_eq!(claim, openid(name, Some("okta")));
    }

    #[test]
    fn only_tokens_are_tokens() {
        for name in ["OPENID_TOKEN", "OPENID_ID_TOKEN@a", "GRAPH_ACCESS_TOKEN"] {
            assert!(Placeholder::from_name(&format!("LIBRECHAT_{name}")).is_token());
        }
        for name in [
            "OPENID_USER_ID",
            "OPENID_CLAIM_token",
            "OPENID_EXPIRES_AT",
            "USER_ID",
        ] {
            assert!(!Placeholder::from_name(&format!("LIBRECHAT_{name}")).is_token());
        }
    }

    #[test]
    fn a_misspelt_name_is_reserved() {
        for name in [
            "LIBRECHAT_OIDC_TOKEN",
            "LIBRECHAT_USER_PASSWORD",
            "LIBRECHAT_USER_TENANTID",
            "LIBRECHAT_USER_email",
            "LIBRECHAT_USER_ID ",
            "LIBRECHAT_USER_ID@entra",
            "LIBRECHAT_GRAPH_ACCESS_TOKEN@entra",
            "LIBRECHAT_OPENID_TOKEN@",
            "LIBRECHAT_OPENID_TOKEN@Entra",
            "LIBRECHAT_OPENID_TOKEN@a@b",
            "LIBRECHAT_OPENID_CLAIM_",
            "LIBRECHAT_OPENID_REFRESH_TOKEN",
            "LIBRECHAT_",
            " LIBRECHAT_OPENID_TOKEN ",
            "librechat_openid_token",
            "LibreChat_User_Id",
            "LIBRE CHAT_OPENID_TOKEN",
            "\u{200b}LIBRECHAT\u{feff}_OPENID_TOKEN",
            "\tlibrechat_x",
        ] {
            assert_eq!(
                Placeholder::from_name(name),
                Placeholder::Reserved(name.to_owned())
            );
        }
    }

    proptest! {
        #[test]
        fn a_name_without_the_prefix_is_a_custom_variable(name in "\\PC{0,40}") {
            prop_assume!(!is_reserved(&name));
            prop_assert_eq!(Placeholder::from_name(&name), Placeholder::Custom(name));
        }
    }
}
