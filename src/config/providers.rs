//! Identity providers.

use std::time::Duration;

use crate::secret::SecretString;

use super::reader::Reader;
use super::urls;

/// One OpenID provider: `OPENID_*`, id `openid`.
#[derive(Clone, Debug)]
pub struct OpenIdProvider {
    /// The id that callers name it by.
    pub id: String,
    /// OPENID_CLIENT_ID.
    pub client_id: String,
    /// OPENID_CLIENT_SECRET; absent for a public client.
    pub client_secret: Option<SecretString>,
    /// OPENID_ISSUER, settled: no trailing slash, no discovery path.
    pub issuer: String,
    /// OPENID_SCOPE, split; holds `openid`.
    pub scopes: Vec<String>,
    /// DOMAIN_SERVER + OPENID_CALLBACK_URL.
    pub redirect_uri: String,
    /// OPENID_AUDIENCE: the `audience` parameter of the authorization request, where set.
    pub audience: Option<String>,
    /// OPENID_TOKEN_ENDPOINT_AUTH_METHOD.
    pub auth_method: ClientAuth,
    /// OPENID_ID_TOKEN_ALGS: accepted signature algorithms of ID tokens, default RS256.
    pub algorithms: Vec<SigningAlg>,
    /// OPENID_CLOCK_TOLERANCE, default 60 seconds, 300 at most.
    pub clock_tolerance: Duration,
    /// OPENID_ALLOW_REGISTRATION, default ALLOW_SOCIAL_REGISTRATION, default true.
    pub allow_registration: bool,
    /// OPENID_BUTTON_LABEL.
    pub display_name: String,
    /// OPENID_IMAGE_URL.
    pub icon_url: String,
    /// OPENID_USERNAME_CLAIM.
    pub username_claim: Option<String>,
    /// OPENID_NAME_CLAIM.
    pub name_claim: Option<String>,
    /// OPENID_EMAIL_CLAIM.
    pub email_claim: Option<String>,
    /// OPENID_USE_END_SESSION_ENDPOINT, default false: whether Logout answers where to end the provider's session.
    pub use_end_session_endpoint: bool,
}

/// How a client proves itself at the token endpoint (OpenID Connect Core section 9).
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

const CLIENT_ID: &str = "OPENID_CLIENT_ID";
const CLIENT_SECRET: &str = "OPENID_CLIENT_SECRET";
const ISSUER: &str = "OPENID_ISSUER";
/// What does nothing without them.
const OTHERS: [&str; 13] = [
    "OPENID_SCOPE",
    "OPENID_CALLBACK_URL",
    "OPENID_AUDIENCE",
    "OPENID_TOKEN_ENDPOINT_AUTH_METHOD",
    "OPENID_ID_TOKEN_ALGS",
    "OPENID_CLOCK_TOLERANCE",
    "OPENID_ALLOW_REGISTRATION",
    "OPENID_BUTTON_LABEL",
    "OPENID_IMAGE_URL",
    "OPENID_USERNAME_CLAIM",
    "OPENID_NAME_CLAIM",
    "OPENID_EMAIL_CLAIM",
    "OPENID_USE_END_SESSION_ENDPOINT",
];
const DISCOVERY: &str = "/.well-known/openid-configuration";

impl OpenIdProvider {
    /// The provider `openid`, where any of its id, secret and issuer is set; mistakes in the other settings are told all the same.
    pub(super) fn read(r: &mut Reader<'_>, domain_server: &str) -> Option<Self> {
        let configured = [CLIENT_ID, CLIENT_SECRET, ISSUER]
            .iter()
            .any(|name| r.is_set(name));
        let client_secret = r.secret(CLIENT_SECRET);
        // LibreChat cannot close registration through OpenID; whoever closes social registration means this one too.
        let social_registration = r.flag("ALLOW_SOCIAL_REGISTRATION", true);
        let provider = Self {
            id: "openid".to_owned(),
            client_id: required(r, configured, CLIENT_ID, |text| Ok(text.to_owned())),
            issuer: required(r, configured, ISSUER, settle_issuer),
            scopes: scopes(r),
            redirect_uri: format!("{domain_server}{}", callback(r)),
            audience: r.text("OPENID_AUDIENCE"),
            auth_method: auth_method(r, r.is_set(CLIENT_SECRET)),
            client_secret,
            algorithms: algorithms(r),
            clock_tolerance: Duration::from_secs(
                r.number("OPENID_CLOCK_TOLERANCE", 60, 0, 300).into(),
            ),
            allow_registration: r.flag("OPENID_ALLOW_REGISTRATION", social_registration),
            display_name: r
                .text("OPENID_BUTTON_LABEL")
                .unwrap_or_else(|| "OpenID".to_owned()),
            icon_url: r.text("OPENID_IMAGE_URL").unwrap_or_default(),
            username_claim: r.text("OPENID_USERNAME_CLAIM"),
            name_claim: r.text("OPENID_NAME_CLAIM"),
            email_claim: r.text("OPENID_EMAIL_CLAIM"),
            use_end_session_endpoint: r.flag("OPENID_USE_END_SESSION_ENDPOINT", false),
        };
        if !configured {
            warn_of_unused(r);
        }
        configured.then_some(provider)
    }
}

/// A typing error in the name of what makes a provider would otherwise leave the service without one in silence.
fn warn_of_unused(r: &mut Reader<'_>) {
    let unused: Vec<_> = OTHERS.into_iter().filter(|name| r.is_set(name)).collect();
    if !unused.is_empty() {
        r.warn(format!(
            "without {CLIENT_ID} and {ISSUER} there is no provider, and nothing reads {}",
            unused.join(", ")
        ));
    }
}

fn required(
    r: &mut Reader<'_>,
    configured: bool,
    name: &str,
    parse: impl FnOnce(&str) -> Result<String, &'static str>,
) -> String {
    if configured && !r.is_set(name) {
        r.mistake(name, "is not set, but other settings of the provider are");
    }
    r.parse(name, parse).unwrap_or_default()
}

/// An issuer as administrators write it: with a trailing slash (Entra), or with the discovery path (Cognito).
fn settle_issuer(text: &str) -> Result<String, &'static str> {
    let url = urls::place(text)?;
    if url.scheme() != "https" && !urls::is_loopback(&url) {
        return Err("must be https; plain http is for loopback hosts only");
    }
    let issuer = urls::without_slash(text);
    Ok(issuer.strip_suffix(DISCOVERY).unwrap_or(issuer).to_owned())
}

fn scopes(r: &mut Reader<'_>) -> Vec<String> {
    let split = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let parse = |text: &str| {
        Some(split(text))
            .filter(|scopes| scopes.iter().any(|scope| scope == "openid"))
            .ok_or("must hold openid")
    };
    r.parse("OPENID_SCOPE", parse)
        .unwrap_or_else(|| split("openid profile email"))
}

fn callback(r: &mut Reader<'_>) -> String {
    let parse = |text: &str| {
        let plain = text.starts_with('/')
            && !text.contains(|c: char| c.is_whitespace() || "?#\\".contains(c))
            && !text.contains("..");
        if plain {
            Ok(text.to_owned())
        } else {
            Err("must be a path such as /oauth/openid/callback; DOMAIN_SERVER comes before it")
        }
    };
    r.parse("OPENID_CALLBACK_URL", parse)
        .unwrap_or_else(|| "/oauth/openid/callback".to_owned())
}

fn auth_method(r: &mut Reader<'_>, with_secret: bool) -> ClientAuth {
    let default = if with_secret {
        ClientAuth::Basic
    } else {
        ClientAuth::None
    };
    let parse = |text: &str| match (text, with_secret) {
        ("client_secret_basic", true) => Ok(ClientAuth::Basic),
        ("client_secret_post", true) => Ok(ClientAuth::Post),
        ("none", false) => Ok(ClientAuth::None),
        ("none", true) => Err("is none, but OPENID_CLIENT_SECRET is set"),
        ("client_secret_basic" | "client_secret_post", false) => Err("needs OPENID_CLIENT_SECRET"),
        _ => Err("must be client_secret_basic, client_secret_post or none"),
    };
    r.parse("OPENID_TOKEN_ENDPOINT_AUTH_METHOD", parse)
        .unwrap_or(default)
}

fn algorithms(r: &mut Reader<'_>) -> Vec<SigningAlg> {
    let one = |name: &str| match name.trim() {
        "RS256" => Ok(SigningAlg::Rs256),
        "PS256" => Ok(SigningAlg::Ps256),
        "ES256" => Ok(SigningAlg::Es256),
        "EdDSA" => Ok(SigningAlg::EdDsa),
        _ => Err("must be of RS256, PS256, ES256 and EdDSA, with commas between"),
    };
    let parse = |text: &str| text.split(',').map(one).collect::<Result<Vec<_>, _>>();
    r.parse("OPENID_ID_TOKEN_ALGS", parse)
        .unwrap_or_else(|| vec![SigningAlg::Rs256])
}
