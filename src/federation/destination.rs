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
fn may_get_tokens(text: &str, listed: &HttpHosts) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    if !is_plain(text, &url) {
        return false;
    }
    match url.scheme() {
        "https" | "wss" => true,
        "http" | "ws" => {
            is_loopback(&url) || url.host_str().is_some_and(|host| listed.contains(host))
        }
        _ => false,
    }
}

/// Whether the host stands in the text as it was understood. The caller gets the text, and its own
/// client may understand another host: `http://127.0.0.1\\@evil.example` is one of either.
fn is_plain(text: &str, url: &Url) -> bool {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after = url.host_str().and_then(|parsed| {
        let (begin, after) = host.split_at_checked(parsed.len())?;
        begin.eq_ignore_ascii_case(parsed).then_some(after)
    });
    after.is_some_and(|after| after.is_empty() || after.starts_with(':'))
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
            ("http://LOCALHOST:80/mcp", true),
            ("http://127.0.0.1\\@evil.example", false),
            ("https://evil.example\\@api.example.com", false),
            ("http://\u{24db}ocalhost/", false),
            ("http://0x7f.1/", false),
            ("http://2130706433/", false),
            ("http:localhost/", false),
            ("https://api.example.com:8443?a=@b", true),
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
