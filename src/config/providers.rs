//! Identity providers.

use std::time::Duration;

use crate::secret::SecretString;

use super::reader::Reader;
use super::server::Domains;
use super::urls;

/// A provider that may sign users in.
#[derive(Clone, Debug)]
pub enum Provider {
    /// OpenID Connect.
    OpenId(OpenIdProvider),
}

impl Provider {
    /// The id by which callers name the provider.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::OpenId(provider) => &provider.id,
        }
    }

    /// The provider's issuer, for a summary.
    #[must_use]
    pub fn issuer(&self) -> &str {
        match self {
            Self::OpenId(provider) => &provider.issuer,
        }
    }
}

/// One OpenID provider. Its settings begin with a prefix; the comments here use `OPENID`.
#[derive(Clone, Debug)]
pub struct OpenIdProvider {
    /// The id by which callers name the provider.
    pub id: String,
    /// OPENID_CLIENT_ID.
    pub client_id: String,
    /// OPENID_CLIENT_SECRET; `None` for a public client.
    pub client_secret: Option<SecretString>,
    /// OPENID_ISSUER without a trailing slash and without the discovery path.
    pub issuer: String,
    /// OPENID_SCOPE, split at white space; contains `openid`.
    pub scopes: Vec<String>,
    /// Whether OPENID_SCOPE is set: a refresh then asks for the scopes again, as in LibreChat.
    pub scopes_on_refresh: bool,
    /// DOMAIN_SERVER + OPENID_CALLBACK_URL.
    pub redirect_uri: String,
    /// OPENID_AUDIENCE: the `audience` parameter of the authorization request, if set.
    pub audience: Option<String>,
    /// OPENID_REFRESH_AUDIENCE: the `audience` parameter of a refresh, if set.
    pub refresh_audience: Option<String>,
    /// OPENID_TRUSTED_AUDIENCES: audiences that an ID token may have beside the client id.
    pub trusted_audiences: Vec<String>,
    /// OPENID_TOKEN_ENDPOINT_AUTH_METHOD.
    pub auth_method: ClientAuth,
    /// OPENID_ID_TOKEN_ALGS: accepted signature algorithms of ID tokens, default RS256.
    pub algorithms: Vec<SigningAlg>,
    /// OPENID_CLOCK_TOLERANCE, default 60 seconds, at most 300: how far the provider's clock may
    /// differ.
    pub clock_tolerance: Duration,
    /// OPENID_ALLOW_REGISTRATION, default ALLOW_SOCIAL_REGISTRATION, default true.
    pub allow_registration: bool,
    /// OPENID_EMAIL_TRUSTED, default false: whether every e-mail address of the provider counts as
    /// verified, whatever its `email_verified` says.
    pub email_trusted: bool,
    /// OPENID_BUTTON_LABEL.
    pub display_name: String,
    /// OPENID_IMAGE_URL.
    pub icon_url: String,
    /// Which claims describe the user.
    pub claims: ClaimNames,
    /// OPENID_USE_END_SESSION_ENDPOINT, default false: whether and how Logout returns the URL that
    /// ends the user's session at the provider.
    pub end_session: Option<EndSession>,
}

/// What a logout at the provider needs to know.
#[derive(Clone, Debug)]
pub struct EndSession {
    /// OPENID_POST_LOGOUT_REDIRECT_URI, default DOMAIN_CLIENT + `/login`: where the provider sends
    /// the browser after it. `None` if neither is set.
    pub redirect_uri: Option<String>,
}

/// Which claims describe the user; `None` means the standard ones.
#[derive(Clone, Debug, Default)]
pub struct ClaimNames {
    /// OPENID_USERNAME_CLAIM.
    pub username: Option<String>,
    /// OPENID_NAME_CLAIM.
    pub name: Option<String>,
    /// OPENID_EMAIL_CLAIM.
    pub email: Option<String>,
}

/// How a client authenticates at the token endpoint (OpenID Connect Core section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic` (the default with a secret).
    Basic,
    /// `client_secret_post`.
    Post,
    /// `none` (the default without a secret).
    None,
}

/// A signature algorithm of ID tokens (RFC 7518, RFC 8037); never a symmetric one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlg {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// If any of these is set, the provider is configured.
const ENABLING: [&str; 3] = ["CLIENT_ID", "CLIENT_SECRET", "ISSUER"];
/// Settings that have no effect unless the provider is configured.
const OTHERS: [&str; 17] = [
    "SCOPE",
    "CALLBACK_URL",
    "AUDIENCE",
    "REFRESH_AUDIENCE",
    "TRUSTED_AUDIENCES",
    "TOKEN_ENDPOINT_AUTH_METHOD",
    "ID_TOKEN_ALGS",
    "CLOCK_TOLERANCE",
    "ALLOW_REGISTRATION",
    "EMAIL_TRUSTED",
    "BUTTON_LABEL",
    "IMAGE_URL",
    "USERNAME_CLAIM",
    "NAME_CLAIM",
    "EMAIL_CLAIM",
    "USE_END_SESSION_ENDPOINT",
    "POST_LOGOUT_REDIRECT_URI",
];
/// The path of a provider's discovery document (OpenID Connect Discovery section 4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// An OpenID provider's id and the prefix of its settings.
struct Prefix {
    id: &'static str,
    prefix: &'static str,
}

const OPENID: Prefix = Prefix {
    id: "openid",
    prefix: "OPENID",
};

/// Reads the configured providers; empty if social login is off.
pub(super) fn read(r: &mut Reader<'_>, domains: &Domains, allowed: bool) -> Vec<Provider> {
    let configured: Vec<_> = [OPENID]
        .iter()
        .filter_map(|prefix| prefix.read(r, domains))
        .map(Provider::OpenId)
        .collect();
    match (configured.is_empty(), allowed) {
        (false, false) => {
            r.warn("ALLOW_SOCIAL_LOGIN is not true: the configured OpenID provider is off");
        }
        (true, true) => r.warn("ALLOW_SOCIAL_LOGIN is true, but no provider is configured"),
        _ => {}
    }
    if allowed { configured } else { Vec::new() }
}

impl Prefix {
    /// The full name of a setting of this provider.
    fn name(&self, setting: &str) -> String {
        format!("{}_{setting}", self.prefix)
    }

    /// The provider, if its client id, client secret or issuer is set. Mistakes in the other
    /// settings are reported even if it is not configured.
    fn read(&self, r: &mut Reader<'_>, domains: &Domains) -> Option<OpenIdProvider> {
        let configured = ENABLING.iter().any(|setting| r.is_set(&self.name(setting)));
        let client_secret = r.secret(&self.name("CLIENT_SECRET"));
        // LibreChat makes an account for everyone whom an OpenID provider signs in, so that is the
        // default. But whoever turns ALLOW_SOCIAL_REGISTRATION off means OpenID too.
        let social_registration = r.allowed("ALLOW_SOCIAL_REGISTRATION", true);
        let with_secret = r.is_set(&self.name("CLIENT_SECRET"));
        let provider = OpenIdProvider {
            id: self.id.to_owned(),
            client_id: self.required(r, configured, "CLIENT_ID", |text| Ok(text.to_owned())),
            issuer: self.required(r, configured, "ISSUER", parse_issuer),
            scopes: r
                .parse(&self.name("SCOPE"), parse_scopes)
                .unwrap_or_else(|| words("openid profile email")),
            scopes_on_refresh: r.is_set(&self.name("SCOPE")),
            redirect_uri: format!("{}{}", domains.server, self.callback(r)),
            audience: r.text(&self.name("AUDIENCE")),
            refresh_audience: r.text(&self.name("REFRESH_AUDIENCE")),
            trusted_audiences: r.list(&self.name("TRUSTED_AUDIENCES")),
            auth_method: self.auth_method(r, with_secret),
            client_secret,
            algorithms: r
                .parse(&self.name("ID_TOKEN_ALGS"), parse_algorithms)
                .unwrap_or_else(|| vec![SigningAlg::Rs256]),
            clock_tolerance: Duration::from_secs(
                r.number(&self.name("CLOCK_TOLERANCE"), 60, 0, 300).into(),
            ),
            allow_registration: r.allowed(&self.name("ALLOW_REGISTRATION"), social_registration),
            email_trusted: r.flag(&self.name("EMAIL_TRUSTED"), false),
            display_name: r
                .text(&self.name("BUTTON_LABEL"))
                .unwrap_or_else(|| "OpenID".to_owned()),
            icon_url: r.text(&self.name("IMAGE_URL")).unwrap_or_default(),
            claims: ClaimNames {
                username: r.text(&self.name("USERNAME_CLAIM")),
                name: r.text(&self.name("NAME_CLAIM")),
                email: r.text(&self.name("EMAIL_CLAIM")),
            },
            end_session: self.end_session(r, domains),
        };
        if !configured {
            self.warn_of_unused(r);
        } else if !provider.allow_registration && !r.is_set(&self.name("ALLOW_REGISTRATION")) {
            r.warn(format!(
                "ALLOW_SOCIAL_REGISTRATION is off, so the provider's users cannot make accounts, which they can in LibreChat: {} says whether they may",
                self.name("ALLOW_REGISTRATION")
            ));
        }
        configured.then_some(provider)
    }

    /// Without this warning, a typing error in the name of a required setting would silently leave
    /// the service without the provider.
    fn warn_of_unused(&self, r: &mut Reader<'_>) {
        let names = OTHERS.iter().map(|setting| self.name(setting));
        let unused: Vec<_> = names.filter(|name| r.is_set(name)).collect();
        if !unused.is_empty() {
            r.warn(format!(
                "{} and {} are not set, so there is no provider, and these settings have no effect: {}",
                self.name("CLIENT_ID"),
                self.name("ISSUER"),
                unused.join(", ")
            ));
        }
    }

    fn required(
        &self,
        r: &mut Reader<'_>,
        configured: bool,
        setting: &str,
        parse: impl FnOnce(&str) -> Result<String, &'static str>,
    ) -> String {
        let name = self.name(setting);
        if configured && !r.is_set(&name) {
            r.mistake(&name, "is not set, but other settings of the provider are");
        }
        r.parse(&name, parse).unwrap_or_default()
    }

    fn callback(&self, r: &mut Reader<'_>) -> String {
        r.parse(&self.name("CALLBACK_URL"), parse_callback)
            .unwrap_or_else(|| format!("/oauth/{}/callback", self.id))
    }

    fn end_session(&self, r: &mut Reader<'_>, domains: &Domains) -> Option<EndSession> {
        let login_page = domains.client.as_ref();
        let redirect_uri = r
            .parse(&self.name("POST_LOGOUT_REDIRECT_URI"), parse_redirect)
            .or_else(|| login_page.map(|client| format!("{client}/login")));
        let used = r.flag(&self.name("USE_END_SESSION_ENDPOINT"), false);
        used.then_some(EndSession { redirect_uri })
    }

    fn auth_method(&self, r: &mut Reader<'_>, with_secret: bool) -> ClientAuth {
        let secret = self.name("CLIENT_SECRET");
        let parse = |text: &str| match (text, with_secret) {
            ("client_secret_basic", true) => Ok(ClientAuth::Basic),
            ("client_secret_post", true) => Ok(ClientAuth::Post),
            ("none", false) => Ok(ClientAuth::None),
            ("none", true) => Err(format!("is none, but {secret} is set")),
            ("client_secret_basic" | "client_secret_post", false) => Err(format!("needs {secret}")),
            _ => Err("must be client_secret_basic, client_secret_post or none".to_owned()),
        };
        let default = if with_secret {
            ClientAuth::Basic
        } else {
            ClientAuth::None
        };
        r.parse(&self.name("TOKEN_ENDPOINT_AUTH_METHOD"), parse)
            .unwrap_or(default)
    }
}

/// An issuer without what administrators and providers append to it: one trailing slash (Entra) or
/// the discovery path (Cognito).
#[must_use]
pub fn normalized_issuer(text: &str) -> &str {
    let issuer = urls::without_slash(text);
    issuer.strip_suffix(DISCOVERY_PATH).unwrap_or(issuer)
}

fn parse_issuer(text: &str) -> Result<String, &'static str> {
    let url = urls::base_url(text)?;
    if url.scheme() != "https" && !urls::is_loopback(&url) {
        return Err("must be https; plain http is for loopback hosts only");
    }
    Ok(normalized_issuer(text).to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn parse_scopes(text: &str) -> Result<Vec<String>, &'static str> {
    let scopes = words(text);
    if scopes.iter().any(|scope| scope == "openid") {
        Ok(scopes)
    } else {
        Err("must contain openid")
    }
}

fn parse_callback(text: &str) -> Result<String, &'static str> {
    let plain = text.starts_with('/')
        && !text.contains(|c: char| c.is_whitespace() || "?#\\".contains(c))
        && !text.contains("..");
    if plain {
        Ok(text.to_owned())
    } else {
        Err("must be a path such as /oauth/openid/callback, which is appended to DOMAIN_SERVER")
    }
}

/// The text must stay as it is, because the provider compares it with what is registered there.
fn parse_redirect(text: &str) -> Result<String, &'static str> {
    match url::Url::parse(text) {
        Ok(url) if ["https", "http"].contains(&url.scheme()) && url.fragment().is_none() => {
            Ok(text.to_owned())
        }
        _ => Err("must be a URL such as https://chat.example.com/login"),
    }
}

fn parse_algorithms(text: &str) -> Result<Vec<SigningAlg>, &'static str> {
    let one = |name: &str| match name.trim() {
        "RS256" => Ok(SigningAlg::Rs256),
        "PS256" => Ok(SigningAlg::Ps256),
        "ES256" => Ok(SigningAlg::Es256),
        "EdDSA" => Ok(SigningAlg::EdDsa),
        _ => Err("must be some of RS256, PS256, ES256 and EdDSA, separated by commas"),
    };
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_path_and_a_trailing_slash_are_removed() {
        for issuer in [
            "https://a",
            "https://a/",
            "https://a/.well-known/openid-configuration",
        ] {
            assert_eq!(normalized_issuer(issuer), "https://a");
        }
    }
}
