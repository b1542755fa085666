//! The rules for URLs in settings.

use url::{Host, Url};

/// Parses an http or https URL without user, query and fragment.
pub(super) fn base_url(text: &str) -> Result<Url, &'static str> {
    // The parser would encode white space and drop line breaks without an error.
    if text.chars().any(char::is_whitespace) {
        return Err("must not contain white space");
    }
    let url = Url::parse(text).map_err(|_| "must be a URL such as https://chat.example.com")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not contain a query or a fragment");
    }
    Ok(url)
}

/// Whether the URL's host is this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => is_loopback_name(name),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        None => false,
    }
}

/// Whether a host name or address is this machine.
pub(super) fn is_loopback_name(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// Without one trailing slash.
pub(super) fn without_slash(text: &str) -> &str {
    text.strip_suffix('/').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_web_address_is_a_base_url() {
        assert!(base_url("https://chat.example.com/sub").is_ok());
        for text in [
            "chat.example.com",
            "ftp://a",
            "https://u@a",
            "https://u:p@a",
            "https://a?b",
            "https://a#b",
            "https://a/b c",
            "https://a\n/b",
            "https://",
        ] {
            assert!(base_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for (text, expected) in [
            ("http://localhost:3080", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://0.0.0.0", false),
        ] {
            assert_eq!(
                is_loopback(&base_url(text).expect("a URL")),
                expected,
                "{text}"
            );
        }
    }
}
