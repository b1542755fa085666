//! End users' addresses, as the calling backend saw them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::network::Network;

/// `[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535`
const MAX_LEN: usize = 53;
/// What a provider gives one customer at least; with less, one customer would have countless keys.
const IPV6_PREFIX: u8 = 64;

const ADDRESS_EXPECTED: &str = "one IP address is expected";

/// An end user's address; IPv4 mapped into IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpAddress(IpAddr);

impl IpAddress {
    /// Reads an address; a port and brackets are dropped, as LibreChat's removePorts does.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let plain = text.len() <= MAX_LEN
            && text
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b".:[]".contains(&b));
        let ip = if plain { without_port(text) } else { None };
        ip.map(Self::from).ok_or(ADDRESS_EXPECTED)
    }

    /// The address itself.
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// What is scored, limited and banned for it: the IPv4 address, or the IPv6 address's /64.
    pub fn network(self) -> Network {
        match self.0 {
            IpAddr::V4(ip) => Network::new(Ipv4Net::from(ip).into()),
            IpAddr::V6(ip) => Network::new(Ipv6Net::new_assert(ip, IPV6_PREFIX).into()),
        }
    }
}

impl From<IpAddr> for IpAddress {
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
                IpAddress::parse(text)
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
            assert_eq!(IpAddress::parse(text), Err(ADDRESS_EXPECTED), "{text:.40}");
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
                IpAddress::parse(text)
                    .expect("an address")
                    .network()
                    .to_string(),
                network
            );
        }
    }

    proptest! {
        #[test]
        fn every_address_reads_back_with_and_without_a_port(ip: IpAddr, port: u16) {
            let expected = Ok(IpAddress::from(ip));
            prop_assert_eq!(IpAddress::parse(&ip.to_string()), expected);
            prop_assert_eq!(IpAddress::parse(&SocketAddr::new(ip, port).to_string()), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f.:\\[\\]/%,]{0,60}") {
            let _ = IpAddress::parse(&text);
        }
    }
}
