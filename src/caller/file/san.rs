//! What a caller's certificate is known by.

/// The longest SPIFFE ID (SPIFFE ID specification, section 2.4).
const MAX_SPIFFE_ID: usize = 2048;
/// The longest DNS name (RFC 1035 section 2.3.4), without the last dot.
const MAX_DNS_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A SPIFFE ID: `spiffe://`, a trust domain, and a path that begins with `/`.
pub(super) fn spiffe_id(text: &str) -> Result<String, String> {
    let parts = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'));
    let is_spiffe_id = parts
        .is_some_and(|(domain, path)| is_trust_domain(domain) && path.split('/').all(is_segment));
    if is_spiffe_id && text.len() <= MAX_SPIFFE_ID {
        Ok(text.to_owned())
    } else {
        Err("has a spiffe_id that is not of the form spiffe://trust-domain/path".to_owned())
    }
}

fn is_trust_domain(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

fn is_segment(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

/// A DNS name in lower case, without wildcards.
pub(super) fn dns_name(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(allowed)
    };
    if text.len() <= MAX_DNS_NAME && text.split('.').all(is_label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("has a dns_san that is not a DNS name without wildcards".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_spiffe_ids_are_taken() {
        for good in ["spiffe://example.org/ns/chat/sa/backend", "spiffe://a/b"] {
            assert_eq!(spiffe_id(good).as_deref(), Ok(good));
        }
        let long = format!("spiffe://a/{}", "b".repeat(2048));
        for bad in [
            "",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///ns",
            "spiffe://Example.org/ns",
            "spiffe://example.org/ns//sa",
            "spiffe://example.org/ns/../sa",
            "spiffe://example.org:80/ns",
            "spiffe://example.org/ns?x=1",
            "spiffe://example.org/*",
            "https://example.org/ns",
            &long,
        ] {
            assert!(spiffe_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_dns_names_without_wildcards_are_taken() {
        assert_eq!(
            dns_name("Chat.Example.com").as_deref(),
            Ok("chat.example.com")
        );
        let long = "a.".repeat(127) + "a";
        for bad in ["", "*.example.com", "a..b", "a.", ".a", "a b", "a/b", &long] {
            assert!(dns_name(bad).is_err(), "{bad}");
        }
    }
}
