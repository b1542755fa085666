//! Ranges of addresses, in a form that both engines compare alike.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use ipnet::{AddrParseError, IpNet};

/// Addresses of one family with a common prefix; shown in CIDR form (RFC 4632), a single IPv4 address bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// The network that `net` lies in, without its host bits.
    #[must_use]
    pub fn new(net: IpNet) -> Self {
        Self(net.trunc())
    }

    /// The IPv4 address that is all of it; an IPv6 address is banned with its network.
    #[must_use]
    pub fn single(self) -> Option<Ipv4Addr> {
        match self.0 {
            IpNet::V4(net) if net.prefix_len() == net.max_prefix_len() => Some(net.addr()),
            _ => None,
        }
    }

    /// The lowest address, ready to be compared.
    pub(super) fn first(self) -> Vec<u8> {
        comparable(self.0.network())
    }

    /// The highest address, ready to be compared.
    pub(super) fn last(self) -> Vec<u8> {
        comparable(self.0.broadcast())
    }
}

/// A byte for the family, then the address: mapped into IPv6, every IPv4 address would lie in `::/64`, the network of `::1`.
pub(super) fn comparable(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [[4].as_slice(), &ip.octets()].concat(),
        IpAddr::V6(ip) => [[6].as_slice(), &ip.octets()].concat(),
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

#[cfg(test)]
mod tests {
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
    fn no_network_reaches_into_the_other_family() {
        let everything: Network = "::/0".parse().expect("a network");
        assert!(everything.first() > comparable("255.255.255.255".parse().expect("an address")));
    }
}
