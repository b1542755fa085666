//! Where tokens may be sent.

use url::Url;

use crate::config::{HttpHosts, is_loopback};
use crate::error::{Error, Result};
use crate::template::batch::Batch;
use crate::template::outcome::Rendered;

/// Refuses the values of a call if they hold a token that would be sent to an unknown address, or
/// unencrypted to another machine, unless the operator lists its host.
///
/// # Errors
/// [`Error::DestinationNotAllowed`] with the entry whose URL it is.
pub(super) fn check(batch: &Batch, rendered: &Rendered, listed: &HttpHosts) -> Result<()> {
    let refused = batch
        .destinations(&rendered.values)
        .find(|(_, url)| !rendered.released.is_empty() && !may_get_tokens(url, listed));
    refused.map_or(Ok(()), |(entry, _)| {
        Err(Error::DestinationNotAllowed(entry.to_owned()))
    })
}

/// Whether a token may be sent to a URL.
fn may_get_tokens(url: &str, listed: &HttpHosts) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => {
            is_loopback(&url) || url.host_str().is_some_and(|host| listed.contains(host))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_a_token_stays_on_this_machine() {
        for (url, expected) in [
            ("https://api.example.com/v1", true),
            ("HTTPS://api.example.com", true),
            ("wss://mcp.example.com", true),
            ("http://localhost:8080/mcp", true),
            ("http://127.0.0.1/", true),
            ("ws://[::1]:9", true),
            ("http://api.example.com", false),
            ("ws://mcp.example.com", false),
            ("http://localhost@evil.example", false),
            ("http://localhost.evil.example", false),
            ("ftp://localhost/", false),
            ("file:///etc/passwd", false),
            ("user_provided", false),
            ("", false),
        ] {
            assert_eq!(
                may_get_tokens(url, &HttpHosts::default()),
                expected,
                "{url}"
            );
        }
    }
}
