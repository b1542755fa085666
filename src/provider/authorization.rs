//! The beginning of a login at a provider.

use crate::secret::SecretString;

/// A login that has begun: the URL to send the browser to, and what to keep until its callback.
pub struct Authorization {
    /// The URL of the authorization request.
    pub url: String,
    /// The `state` that the callback must carry.
    pub state: String,
    /// The `nonce` that the ID token must contain.
    pub nonce: String,
    /// The PKCE code verifier, which proves to the token endpoint that we began the login (RFC
    /// 7636).
    pub code_verifier: SecretString,
}
