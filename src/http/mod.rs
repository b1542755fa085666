//! The only outbound HTTP client. It follows no redirects, uses no proxy, decompresses nothing,
//! limits time and size, and checks each resolved address before it connects.

mod address;
mod cached;
mod json;
mod span;

use std::time::Duration;

use reqwest::redirect::Policy;
use url::Url;

use crate::error::Cause;
use address::{AddressPolicy, Resolver};

pub use cached::Cached;
pub use json::{is_json, json_body, json_request};

/// Shorter than the total, so that an unreachable host is distinguished from a slow one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For the whole exchange, so that a server that sends its body byte by byte cannot hold a call.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Bounds the memory that a response takes.
const MAX_BODY: usize = 1024 * 1024;

/// A request.
pub type Request = ::http::Request<Vec<u8>>;
/// A response with its whole body.
pub type Response = ::http::Response<Vec<u8>>;

/// Why there is no response. The text contains no address and no secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the URL may not be called: {0}")]
    UrlRefused(&'static str),
    #[error("the connection failed")]
    Unreachable(#[source] Cause),
    #[error("the response was not complete within five seconds")]
    TimedOut,
    #[error("the connection broke")]
    Broken(#[source] Cause),
    #[error("the response is larger than 1 MiB")]
    TooLarge,
    #[error("the HTTP client could not be set up")]
    Setup(#[source] Cause),
}

impl Error {
    /// Whether it is certain that the server received nothing of the request.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::UrlRefused(_) | Self::Unreachable(_) | Self::Setup(_)
        )
    }

    /// What kind of error it is, for telemetry.
    const fn kind(&self) -> &'static str {
        match self {
            Self::UrlRefused(_) => "url_refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Broken(_) => "broken",
            Self::TooLarge => "too_large",
            Self::Setup(_) => "setup",
        }
    }
}

/// A client for one issuer. It connects to private addresses only if the issuer's own host is
/// private.
#[derive(Clone, Debug)]
pub struct Client {
    inner: reqwest::Client,
    addresses: AddressPolicy,
}

impl Client {
    /// A client for the issuer at this URL, which comes from the configuration and is trusted.
    /// Fails if TLS cannot be set up.
    pub fn for_issuer(issuer: &Url) -> Result<Self, Error> {
        Self::build(issuer, None)
    }

    /// A client for the issuer at this URL that trusts the certificate authorities of this PEM text
    /// and no others. Fails if the text has no certificate, or one that cannot be read.
    pub fn trusting(issuer: &Url, authorities: &str) -> Result<Self, Error> {
        let roots = reqwest::Certificate::from_pem_bundle(authorities.as_bytes());
        let roots = roots.map_err(|error| Error::Setup(error.into()))?;
        if roots.is_empty() {
            return Err(Error::Setup("there is no certificate".into()));
        }
        Self::build(issuer, Some(roots))
    }

    fn build(issuer: &Url, roots: Option<Vec<reqwest::Certificate>>) -> Result<Self, Error> {
        let addresses = AddressPolicy::for_issuer(issuer);
        let builder = reqwest::Client::builder();
        let builder = match roots {
            Some(roots) => builder.tls_certs_only(roots),
            None => builder,
        };
        let inner = builder
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            // A repeated request could use a refresh token or a code twice.
            .retry(reqwest::retry::never())
            // The server may close an idle connection just as a request is sent on it. It would
            // then be unknown whether it used the refresh token in that request.
            .pool_max_idle_per_host(0)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TOTAL_TIMEOUT)
            .dns_resolver(Resolver(addresses.clone()))
            .build()
            .map_err(|error| Error::Setup(error.into()))?;
        Ok(Self { inner, addresses })
    }

    /// Parses a URL and refuses it unless it may be called: it must be https (or http to a loopback
    /// host), contain no credentials and name no forbidden address.
    pub fn check(&self, url: &str) -> Result<Url, Error> {
        let url = Url::parse(url).map_err(|_| Error::UrlRefused("it cannot be parsed"))?;
        self.addresses.check(&url).map_err(Error::UrlRefused)?;
        Ok(url)
    }

    /// Sends the request and reads the response, whatever its status. If it fails,
    /// [`Error::is_unsent`] says whether the request may be repeated. The server is told which
    /// trace the request is a part of, if the current call is traced.
    pub async fn send(&self, mut request: Request) -> Result<Response, Error> {
        let span = span::begin(&request);
        span.inject(request.headers_mut());
        let answer = self.exchange(request).await;
        let outcome = answer.as_ref();
        span::end(span, outcome.map(Response::status).map_err(Error::kind));
        answer
    }

    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        self.check(&request.uri().to_string())?;
        let request = reqwest::Request::try_from(request)
            .map_err(|_| Error::UrlRefused("it cannot be parsed"))?;
        let mut response = self.inner.execute(request).await.map_err(Error::from)?;
        let mut body = Vec::new();
        loop {
            let problem = match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => {
                    body.extend_from_slice(&chunk);
                    continue;
                }
                Ok(Some(_)) => Error::TooLarge,
                Err(error) => error.into(),
            };
            // The status alone says that the server has a problem of its own.
            if response.status().is_server_error() {
                break;
            }
            return Err(problem);
        }
        let mut whole = Response::new(body);
        *whole.status_mut() = response.status();
        *whole.headers_mut() = std::mem::take(response.headers_mut());
        Ok(whole)
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        // A timeout while connecting is both; nothing was sent then, so it counts as unreachable.
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
