//! The form in which networks are compared: as the common prefix of their addresses.

use std::net::IpAddr;

use crate::model::network::Network;

/// The address as a digit for its family and its bits. IPv4 addresses are not mapped into IPv6,
/// because all of them would then lie in `::/64`, the network of `::1`.
pub(super) fn of_address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("4{:032b}", ip.to_bits()),
        IpAddr::V6(ip) => format!("6{:0128b}", ip.to_bits()),
    }
}

/// What the addresses of the network, and no others, begin with.
pub(super) fn of_network(network: Network) -> String {
    let mut prefix = of_address(network.first());
    prefix.truncate(1 + usize::from(network.prefix_len()));
    prefix
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefix_is_the_family_and_the_fixed_bits() {
        for (network, prefix) in [
            ("0.0.0.0/0", "4"),
            ("192.0.2.0/24", "4110000000000000000000010"),
            ("192.0.2.1", "411000000000000000000001000000001"),
            ("::/0", "6"),
            ("2001:db8::/32", "600100000000000010000110110111000"),
        ] {
            let network = network.parse().expect("a network");
            assert_eq!(of_network(network), prefix);
        }
    }

    proptest! {
        #[test]
        fn an_address_begins_with_the_prefix_of_each_network_that_contains_it(ip: IpAddr, net: IpAddr, length in 0_u8..=128) {
            let length = length.min(if net.is_ipv4() { 32 } else { 128 });
            let net = ipnet::IpNet::new(net, length).expect("a network");
            let inside = of_address(ip).starts_with(&of_network(Network::new(net)));
            prop_assert_eq!(inside, net.contains(&ip));
        }
    }
}
