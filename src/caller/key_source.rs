//! What a caller's JWT has to say, and where the keys that verify it are.

use std::path::PathBuf;

use url::Url;

use crate::http::Client;
use crate::jose::CallerKeys;

/// The JWT that proves who a caller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// `iss`, byte for byte.
    pub issuer: String,
    /// One of `aud`, byte for byte.
    pub audience: String,
    /// `sub`, byte for byte.
    pub subject: String,
    pub keys: KeySource,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// Those of a file, which was read together with the callers' file.
    File(CallerKeys),
    /// Those that the issuer publishes.
    Url(KeyUrl),
}

/// A URL of a JWK set.
#[derive(Clone, Debug)]
pub struct KeyUrl {
    pub url: Url,
    /// The PEM text of the authorities that the server's certificate is checked with; the well-known
    /// ones if there is none.
    pub authorities: Option<String>,
    /// The file with the bearer token that the server asks for, read anew for each request.
    pub token_file: Option<PathBuf>,
    /// The way there.
    pub client: Client,
}

impl PartialEq for KeyUrl {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
            && self.authorities == other.authorities
            && self.token_file == other.token_file
    }
}

impl Eq for KeyUrl {}
