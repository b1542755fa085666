//! The one outbound HTTP client: no redirects, no proxy, no decompression, bounded in time and size, and it looks at the address before it
//! connects.

mod reach;

use std::time::Duration;

use reqwest::redirect::Policy;
use url::Url;

use crate::error::Cause;
use reach::{Reach, Resolver};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_BODY: usize = 1024 * 1024;

/// A request as the caller makes it.
pub type Request = ::http::Request<Vec<u8>>;
/// A response, read whole.
pub type Response = ::http::Response<Vec<u8>>;

/// Why there is no response. The text holds no address and no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the URL is not one to call: {0}")]
    UrlRefused(&'static str),
    #[error("no connection could be made")]
    Unreachable(#[source] Cause),
    #[error("no whole response within five seconds")]
    TimedOut,
    #[error("the connection broke")]
    Broken(#[source] Cause),
    #[error("the response is larger than 1 MiB")]
    TooLarge,
    #[error("the client could not be set up")]
    Setup(#[source] Cause),
}

impl Error {
    /// Whether the other side surely saw nothing of the request.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::UrlRefused(_) | Self::Unreachable(_) | Self::Setup(_)
        )
    }
}

/// A client for one issuer: private addresses are open to it only as far as the issuer's own host is such.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    reach: Reach,
}

impl Client {
    /// For the issuer at this URL, which is configuration and trusted.
    ///
    /// # Errors
    /// [`Error::Setup`] where TLS cannot be set up.
    pub fn for_issuer(issuer: &Url) -> Result<Self, Error> {
        let reach = Reach::of_issuer(issuer);
        let inner = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .retry(reqwest::retry::never())
            // A kept connection may close under a request, and whether a refresh token was used would then be in doubt.
            .pool_max_idle_per_host(0)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .dns_resolver(Resolver(reach.clone()))
            .build()
            .map_err(|error| Error::Setup(error.into()))?;
        Ok(Self { inner, reach })
    }

    /// Whether the URL may be called: https (http for loopback hosts), no credentials in it, no address out of reach.
    ///
    /// # Errors
    /// [`Error::UrlRefused`].
    pub fn check(&self, url: &str) -> Result<Url, Error> {
        let url = Url::parse(url).map_err(|_| Error::UrlRefused("it cannot be read"))?;
        self.reach.check(&url).map_err(Error::UrlRefused)?;
        Ok(url)
    }

    /// Sends the request and reads the response, of any status.
    ///
    /// # Errors
    /// [`Error`]; see [`Error::is_unsent`] for what may be tried again.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.check(&request.uri().to_string())?;
        let request = reqwest::Request::try_from(request)
            .map_err(|_| Error::UrlRefused("it cannot be read"))?;
        let mut response = self.inner.execute(request).await.map_err(Error::from)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Error::from)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(Error::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = Response::new(body);
        *whole.status_mut() = response.status();
        *whole.headers_mut() = std::mem::take(response.headers_mut());
        Ok(whole)
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        // A connection that timed out is both; what counts is that nothing was sent.
        if error.is_connect() || error.is_builder() {
            Self::Unreachable(error.without_url().into())
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::Broken(error.without_url().into())
        }
    }
}

#[cfg(test)]
mod tests;
