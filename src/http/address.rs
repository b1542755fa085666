//! Which hosts and addresses a client may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Suffixes of names that are used only in private networks. Names without a dot are private too.
const PRIVATE_SUFFIXES: [&str; 9] = [
    ".internal",
    ".local",
    ".lan",
    ".home.arpa",
    ".corp",
    ".intranet",
    ".private",
    ".svc",
    ".test",
];
/// Metadata services outside the link-local ranges (Alibaba Cloud, AWS). They give out credentials,
/// so they are treated as link-local.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);

/// The network that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The Internet.
    Public,
    /// A private network.
    Private,
    /// This machine.
    Loopback,
    /// The local link, where clouds offer their metadata services.
    LinkLocal,
    /// Reserved, documentation and multicast addresses, and IPv6 addresses that wrap an IPv4 one.
    Forbidden,
}

/// Which addresses a client may connect to: public ones, and those of the kind that its issuer's
/// host is.
#[derive(Clone, Debug)]
pub(super) struct AddressPolicy {
    host: String,
    kind: Kind,
}

impl AddressPolicy {
    pub(super) fn for_issuer(issuer: &Url) -> Self {
        let host = issuer.host_str().unwrap_or_default().to_owned();
        Self {
            host,
            kind: issuer.host().map_or(Kind::Forbidden, kind_of_host),
        }
    }

    pub(super) fn check(&self, url: &Url) -> Result<(), &'static str> {
        let host = url.host().ok_or("it has no host")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it contains credentials");
        }
        match url.scheme() {
            "https" => {}
            "http" if kind_of_host(host.to_owned()) == Kind::Loopback => {}
            _ => return Err("it is not https"),
        }
        let address = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
        };
        if self.permits(url.host_str().unwrap_or_default(), address) {
            Ok(())
        } else {
            Err("its address is not allowed")
        }
    }

    /// The issuer's own name may resolve to a private address: the operator configured it, and TLS
    /// authenticates the server. Other names, which come from the discovery document, may do so
    /// only if the issuer's host is private by its name or address.
    fn permits(&self, host: &str, address: IpAddr) -> bool {
        match kind_of(address) {
            Kind::Public => true,
            Kind::Private => {
                self.kind == Kind::Private || (self.kind == Kind::Public && self.host == host)
            }
            Kind::Loopback => self.kind == Kind::Loopback,
            Kind::LinkLocal => self.kind == Kind::LinkLocal && self.host == host,
            Kind::Forbidden => false,
        }
    }
}

fn kind_of_host<S: AsRef<str>>(host: Host<S>) -> Kind {
    match host {
        Host::Ipv4(address) => kind_of_v4(address),
        Host::Ipv6(address) => kind_of_v6(address),
        Host::Domain(name) => kind_of_name(name.as_ref()),
    }
}

fn kind_of_name(name: &str) -> Kind {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name == "localhost" || name.ends_with(".localhost") {
        Kind::Loopback
    } else if !name.contains('.') || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        Kind::Private
    } else {
        Kind::Public
    }
}

fn kind_of(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

/// By the IANA special-purpose address registry (RFC 6890).
fn kind_of_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        [127, ..] => Kind::Loopback,
        [169, 254, ..] => Kind::LinkLocal,
        _ if address == METADATA_V4 => Kind::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Kind::Private,
        [0 | 224.., ..]
        | [192, 0, 0 | 2, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Kind::Forbidden,
        _ => Kind::Public,
    }
}

/// Only global unicast addresses are public. Addresses that wrap an IPv4 address are refused,
/// except those of NAT64, which are treated as the address that they wrap.
fn kind_of_v6(address: Ipv6Addr) -> Kind {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Kind::Loopback,
        _ if address == METADATA_V6 => Kind::LinkLocal,
        [0xfe80..=0xfebf, ..] => Kind::LinkLocal,
        [0xfc00..=0xfdff, ..] => Kind::Private,
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
            kind_of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        [0x2001, 0x0db8 | 0, ..] | [0x2002, ..] => Kind::Forbidden,
        [0x2000..=0x3fff, ..] => Kind::Public,
        _ => Kind::Forbidden,
    }
}

/// The system's resolver without the addresses that are not allowed. The client connects to the
/// addresses that this returns, so a second DNS answer cannot replace a checked one.
pub(super) struct Resolver(pub(super) AddressPolicy);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let permitted = tokio::net::lookup_host((host, 0))
                .await?
                .filter(|address| policy.permits(host, address.ip()));
            let permitted: Vec<SocketAddr> = permitted.collect();
            if permitted.is_empty() {
                return Err("the host has no address that may be connected to".into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(issuer: &str) -> AddressPolicy {
        AddressPolicy::for_issuer(&Url::parse(issuer).expect("a URL"))
    }

    fn permits(issuer: &str, host: &str, address: &str) -> bool {
        policy(issuer).permits(host, address.parse().expect("an address"))
    }

    const INTERNAL: [&str; 15] = [
        "127.0.0.1",
        "10.0.0.1",
        "172.31.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fd00:ec2::254",
        "fe80::1",
        "64:ff9b::a00:1",
    ];

    #[test]
    fn a_public_issuer_does_not_lead_to_internal_addresses() {
        for address in INTERNAL.into_iter().chain([
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "ff02::1",
            "fec0::1",
            "2002:a00:1::",
            "fd00::1",
        ]) {
            assert!(
                !permits("https://idp.example", "tokens.idp.example", address),
                "{address}"
            );
        }
        for address in ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"] {
            assert!(
                permits("https://idp.example", "tokens.idp.example", address),
                "{address}"
            );
        }
    }

    #[test]
    fn an_issuers_own_name_may_lead_into_a_private_network_and_no_further() {
        assert!(permits(
            "https://sso.corp.example",
            "sso.corp.example",
            "10.1.2.3"
        ));
        assert!(!permits(
            "https://sso.corp.example",
            "vault.corp.example",
            "10.1.2.3"
        ));
        assert!(!permits(
            "https://sso.corp.example",
            "sso.corp.example",
            "127.0.0.1"
        ));
        assert!(!permits(
            "https://sso.corp.example",
            "sso.corp.example",
            "169.254.169.254"
        ));
    }

    #[test]
    fn a_private_issuer_reaches_private_networks_but_not_this_machine() {
        for issuer in [
            "https://10.0.0.5",
            "https://keycloak",
            "https://keycloak.auth.svc",
            "https://idp.internal",
        ] {
            assert!(permits(issuer, "other", "10.9.9.9"), "{issuer}");
            assert!(!permits(issuer, "other", "127.0.0.1"), "{issuer}");
            assert!(!permits(issuer, "other", "169.254.169.254"), "{issuer}");
            assert!(!permits(issuer, "other", "100.100.100.200"), "{issuer}");
        }
    }

    #[test]
    fn a_loopback_issuer_reaches_this_machine_and_not_the_network_around_it() {
        for issuer in [
            "http://localhost:4000",
            "http://127.0.0.1",
            "http://[::1]:1",
            "http://idp.localhost",
        ] {
            assert!(permits(issuer, "localhost", "127.0.0.1"), "{issuer}");
            assert!(permits(issuer, "localhost", "::1"), "{issuer}");
            assert!(!permits(issuer, "localhost", "10.0.0.1"), "{issuer}");
        }
    }

    #[test]
    fn a_link_local_address_is_open_only_to_an_issuer_that_is_that_address() {
        assert!(permits("https://169.254.1.1", "169.254.1.1", "169.254.1.1"));
        assert!(!permits(
            "https://169.254.1.1",
            "metadata",
            "169.254.169.254"
        ));
    }

    #[test]
    fn only_https_urls_and_http_ones_of_loopback_hosts_pass() {
        let local = policy("http://127.0.0.1:9000");
        let public = policy("https://idp.example");
        let pass = |policy: &AddressPolicy, url: &str| {
            Url::parse(url).is_ok_and(|url| policy.check(&url).is_ok())
        };
        for url in [
            "http://127.0.0.1:9000/x",
            "http://localhost/x",
            "http://[::1]/x",
            "https://idp.example/x",
        ] {
            assert!(pass(&local, url), "{url}");
        }
        assert!(
            pass(&public, "https://idp.example/token")
                && pass(&public, "https://other.example/token")
        );
        for url in [
            "http://idp.example/",
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest",
            "https://user@idp.example/",
            "https://user:word@idp.example/",
            "gopher://idp.example/",
            "file:///etc/passwd",
            "data:text/plain,x",
        ] {
            assert!(!pass(&public, url), "{url}");
        }
    }
}
