//! A login that begins at a provider.

use crate::secret::SecretString;

/// A login that begins: where to send the browser, and what to keep until it comes back.
pub struct Authorization {
    /// The authorization request.
    pub url: String,
    /// What the callback has to bring back.
    pub state: String,
    /// What the ID token has to repeat.
    pub nonce: String,
    /// What proves at the token endpoint that we began the login (RFC 7636).
    pub code_verifier: SecretString,
}
