//! Ranges of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{AddrParseError, IpNet, Ipv4Net};

/// Bits before the IPv4 address in a mapped one (RFC 4291 section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;
const CIDR_EXPECTED: &str =
    "a range in CIDR form without host bits is expected, such as 192.0.2.0/24";

/// Addresses of one family with a common prefix; shown in CIDR form (RFC 4632), a single IPv4
/// address bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

impl Network {
    /// The network that `net` lies in, without its host bits.
    pub fn new(net: IpNet) -> Self {
        Self(net.trunc())
    }

    /// Reads a range in CIDR form. Bits beyond the prefix are refused, because with them it is
    /// unclear which range is meant.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn parse_cidr(text: &str) -> Result<Self, &'static str> {
        let net = read_net(text).filter(|net| net.trunc() == *net);
        net.map(|net| Self::new(unmapped(net))).ok_or(CIDR_EXPECTED)
    }

    /// The IPv4 address that is all of it; an IPv6 address is banned with its network.
    pub fn single(self) -> Option<Ipv4Addr> {
        match self.0 {
            IpNet::V4(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        }
    }

    /// The lowest address.
    pub fn first(self) -> IpAddr {
        self.0.network()
    }

    /// How many bits its addresses have in common.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.single() {
            Some(address) => address.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for Network {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse()
            .or_else(|error| text.parse().map(|ip: IpAddr| ip.into()).map_err(|_| error))
            .map(Self::new)
    }
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
    fn what_is_shown_reads_back() {
        for text in [
            "192.0.2.1",
            "192.0.2.0/24",
            "0.0.0.0/0",
            "2001:db8::/64",
            "2001:db8::1/128",
            "::/0",
        ] {
            assert_eq!(
                text.parse::<Network>().expect("a network").to_string(),
                text
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
                Network::parse_cidr(text)
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
            assert_eq!(Network::parse_cidr(text), Err(CIDR_EXPECTED), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f.:\\[\\]/%,]{0,60}") {
            let _ = Network::parse_cidr(&text);
        }
    }
}
