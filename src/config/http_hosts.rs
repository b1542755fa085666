//! The hosts that tokens may be sent to without TLS.

use url::Host;

/// COUNTERSIGN_HTTP_HOSTS: hosts, and suffixes of hosts, that tokens may be sent to by plain http.
#[derive(Debug, Default)]
pub struct HttpHosts(Vec<Pattern>);

#[derive(Debug)]
enum Pattern {
    /// This host or address.
    Host(String),
    /// All hosts below a domain; the text begins with its dot.
    Suffix(String),
}

impl HttpHosts {
    /// Parses the entries of the list.
    pub(super) fn parse(entries: &[String]) -> Result<Self, &'static str> {
        let patterns: Option<_> = entries.iter().map(|entry| Pattern::parse(entry)).collect();
        patterns.map(Self).ok_or(
            "must be hosts (mcp.internal) or suffixes (.svc.cluster.local) separated by commas, \
             without scheme, port and *",
        )
    }

    /// Whether the list has a host, written as in a parsed URL.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.0.iter().any(|pattern| match pattern {
            Pattern::Host(listed) => host == listed,
            Pattern::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        })
    }
}

impl Pattern {
    fn parse(entry: &str) -> Option<Self> {
        if let Ok(address) = entry.trim_matches(['[', ']']).parse() {
            let host = match address {
                std::net::IpAddr::V4(address) => Host::<String>::Ipv4(address),
                std::net::IpAddr::V6(address) => Host::Ipv6(address),
            };
            return Some(Self::Host(host.to_string()));
        }
        let name = entry.strip_prefix('.').unwrap_or(entry);
        let is_name = name.split('.').all(|label| !label.is_empty()) && !name.contains('*');
        match Host::parse(name).ok().filter(|_| is_name)? {
            Host::Domain(name) if entry.starts_with('.') => Some(Self::Suffix(format!(".{name}"))),
            Host::Domain(name) => Some(Self::Host(name)),
            // Something like `127.1`, which only a parser of URLs takes for an address.
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn hosts(entries: &[&str]) -> Result<HttpHosts, &'static str> {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        HttpHosts::parse(&entries)
    }

    fn has(hosts: &HttpHosts, url: &str) -> bool {
        let url = Url::parse(url).expect("a URL");
        hosts.contains(url.host_str().expect("a host"))
    }

    #[test]
    fn a_host_or_a_suffix_matches_whole_labels() {
        let hosts = hosts(&[".svc.cluster.local", "MCP.internal", "10.0.0.7", "fd00::7"]);
        let hosts = hosts.expect("a good list");
        for url in [
            "http://a.svc.cluster.local:8080/x",
            "http://A.b.SVC.cluster.local./",
            "http://mcp.internal",
            "http://10.0.0.7",
            "http://[fd00:0::7]/",
        ] {
            assert!(has(&hosts, url), "{url}");
        }
        for url in [
            "http://svc.cluster.local",
            "http://evilsvc.cluster.local",
            "http://a.svc.cluster.local.evil.example",
            "http://a.mcp.internal",
            "http://mcp.internal.evil.example",
            "http://evil.example/mcp.internal",
            "http://mcp.internal@evil.example",
            "http://10.0.0.70",
        ] {
            assert!(!has(&hosts, url), "{url}");
        }
    }

    #[test]
    fn an_entry_that_is_no_host_is_refused() {
        for entry in [
            "http://mcp.internal",
            "mcp.internal:80",
            "mcp.internal/x",
            "*.internal",
            "*",
            ".",
            "..internal",
            "a..b",
            "127.1",
            "a b",
            "u@h",
        ] {
            assert!(hosts(&[entry]).is_err(), "{entry}");
        }
        assert!(hosts(&[]).is_ok());
    }
}
