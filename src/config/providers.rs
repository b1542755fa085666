//! Identity providers.

use std::time::Duration;

use crate::secret::SecretString;

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
    /// OPENID_ALLOW_REGISTRATION, default true.
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
