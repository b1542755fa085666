//! End users' addresses, as a backend saw them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::store::Network;

/// `[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535`
const MAX_LEN: usize = 53;
/// What a provider gives one customer at least; with less, one customer would have countless keys.
const IPV6_PREFIX: u8 = 64;
/// Bits before the IPv4 address in a mapped one (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

const ADDRESS_EXPECTED: &str = "one IP address is expected";
const CIDR_EXPECTED: &str =
    "a range in CIDR form without host bits is expected, such as 192.0.2.0/24";

/// An end user's address; IPv4 mapped into IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl Address {
    /// Reads an address; a port and brackets are dropped, as LibreChat's removePorts does.
    ///
    /// # Errors
    /// What is expected, where the text is anything else.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = text.len() <= MAX_LEN
            && text
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b".:[]".contains(&b));
        let ip = if plain { without_port(text) } else { None };
        ip.map(Self::from).ok_or(ADDRESS_EXPECTED)
    }

    /// The address itself.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// What is scored, limited and banned for it: the IPv4 address, or the IPv6 address's /64.
    #[must_use]
    pub fn network(self) -> Network {
        match self.0 {
            IpAddr::V4(ip) => Network::new(Ipv4Net::from(ip).into()),
            IpAddr::V6(ip) => Network::new(Ipv6Net::new_assert(ip, IPV6_PREFIX).into()),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self(ip.to_canonical())
    }
}

fn without_port(text: &str) -> Option<IpAddr> {
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6)
    };
    let address = text.parse().ok();
    address
        .or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
        .or_else(bracketed)
        .or_else(|| mapped_with_port(text))
}

/// `::ffff:192.0.2.1:80`, the one IPv6 form whose port shows without brackets.
fn mapped_with_port(text: &str) -> Option<IpAddr> {
    let (address, port) = text.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    address
        .parse::<Ipv6Addr>()
        .ok()?
        .to_ipv4_mapped()
        .map(IpAddr::V4)
}

/// Reads a range; bits beyond the prefix are refused, because with them it is unclear which range is meant.
///
/// # Errors
/// What is expected, where the text is anything else.
pub fn parse_cidr(text: &str) -> Result<Network, &'static str> {
    let net = read_net(text).filter(|net| net.trunc() == *net);
    net.map(|net| Network::new(unmapped(net)))
        .ok_or(CIDR_EXPECTED)
}

/// Not ipnet's own parser, which takes leading zeros.
fn read_net(text: &str) -> Option<IpNet> {
    let (address, prefix) = text.split_once('/')?;
    let length: u8 = prefix
        .parse()
        .ok()
        .filter(|length: &u8| length.to_string() == prefix)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

/// A range of mapped addresses is a range of IPv4.
fn unmapped(net: IpNet) -> IpNet {
    let (IpAddr::V4(ip), Some(prefix)) = (
        net.addr().to_canonical(),
        net.prefix_len().checked_sub(MAPPED_PREFIX),
    ) else {
        return net;
    };
    Ipv4Net::new(ip, prefix).map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_and_brackets_are_dropped_and_mapped_addresses_collapse() {
        for (text, ip) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:80", "1.2.3.4"),
            ("[::1]:5", "::1"),
            ("[::1]", "::1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:102:304", "1.2.3.4"),
            ("::ffff:1.2.3.4:8080", "1.2.3.4"),
            ("[::ffff:1.2.3.4]:8080", "1.2.3.4"),
        ] {
            assert_eq!(
                Address::parse(text)
                    .map(|address| address.ip().to_string())
                    .as_deref(),
                Ok(ip),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_but_one_address_is_refused() {
        let long = "1".repeat(1 << 20);
        for text in [
            "",
            "unknown",
            "01.2.3.4",
            "1.2.3",
            "1.2.3.4,5.6.7.8",
            "1.2.3.4, 5.6.7.8",
            " 1.2.3.4",
            "1.2.3.4\n",
            "1.2.3.4:",
            "1.2.3.4:65536",
            "1.2.3.4:+80",
            "[1.2.3.4]",
            "[1.2.3.4]:80",
            "::1]",
            "[::1",
            "[[::1]]",
            "fe80::1%eth0",
            "[fe80::1%2]:80",
            "1:2:3:4:5:6:7:8:80",
            "::ffff:01.2.3.4",
            "1.2.3.4/32",
            "localhost",
            "\u{661}.2.3.4",
            long.as_str(),
        ] {
            assert_eq!(Address::parse(text), Err(ADDRESS_EXPECTED), "{text:.40}");
        }
    }

    #[test]
    fn an_ipv6_address_stands_for_its_64() {
        for (text, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(
                Address::parse(text)
                    .expect("an address")
                    .network()
                    .to_string(),
                network
            );
        }
    }

    #[test]
    fn a_range_has_a_prefix_and_no_host_bits() {
        for (text, network) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(
                parse_cidr(text)
                    .map(|network| network.to_string())
                    .as_deref(),
                Ok(network),
                "{text}"
            );
        }
        for text in [
            "",
            "192.0.2.1",
            "192.0.2.1/24",
            "192.0.2.0/33",
            "2001:db8::1/64",
            "192.0.2.0/",
            "192.0.2.0/-1",
            "192.0.02.0/24",
            "192.0.2.0/024",
            "x/8",
        ] {
            assert_eq!(parse_cidr(text), Err(CIDR_EXPECTED), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_reads_back_with_and_without_a_port(ip: IpAddr, port: u16) {
            let expected = Ok(Address::from(ip));
            prop_assert_eq!(Address::parse(&ip.to_string()), expected);
            prop_assert_eq!(Address::parse(&SocketAddr::new(ip, port).to_string()), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f.:\\[\\]/%,]{0,60}") {
            let _ = (Address::parse(&text), parse_cidr(&text));
        }
    }
}
