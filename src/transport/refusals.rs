//! The log of strangers: one line a minute for each address, so that they cannot fill the log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::model::network::Network;

/// How long further refusals of an address are only counted.
const QUIET: Duration = Duration::from_mins(1);
/// How many addresses are remembered; the others share one line a minute.
const MAX_ADDRESSES: usize = 1024;

/// Which addresses were refused, and when that was logged. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Refusals {
    clock: Clock,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: HashMap<Option<Network>, Logged>,
    /// When old addresses were last forgotten.
    tidied: Duration,
}

#[derive(Debug)]
struct Logged {
    at: Duration,
    unlogged: u64,
}

impl Refusals {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            known: Arc::default(),
        }
    }

    /// Notes a call that was refused because its caller is unknown.
    pub(super) fn note(&self, address: Option<Network>, path: &str) {
        let Some((address, unlogged)) = self.due(address) else {
            return;
        };
        let address = address.map_or_else(|| "others".to_owned(), |address| address.to_string());
        tracing::info!(
            address,
            path,
            unlogged,
            "a call without a known credential was refused"
        );
    }

    /// The address to be logged, with how many of its refusals were not; `None` if it is too early.
    fn due(&self, address: Option<Network>) -> Option<(Option<Network>, u64)> {
        let now = self.clock.elapsed();
        let is_recent = |logged: &Logged| now.saturating_sub(logged.at) < QUIET;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.addresses.len() >= MAX_ADDRESSES && now.saturating_sub(known.tidied) >= QUIET {
            known.addresses.retain(|_, logged| is_recent(logged));
            known.tidied = now;
        }
        let all = &mut known.addresses;
        let is_full = all.len() >= MAX_ADDRESSES;
        let address = address.filter(|address| !is_full || all.contains_key(&Some(*address)));
        let Some(logged) = all.get_mut(&address) else {
            let first = Logged {
                at: now,
                unlogged: 0,
            };
            all.insert(address, first);
            return Some((address, 0));
        };
        if is_recent(logged) {
            logged.unlogged += 1;
            return None;
        }
        let unlogged = logged.unlogged;
        *logged = Logged {
            at: now,
            unlogged: 0,
        };
        Some((address, unlogged))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::clock::Timestamp;
    use crate::model::ip_address::IpAddress;

    fn network(number: u32) -> Network {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number));
        IpAddress::from(ip).network()
    }

    #[test]
    fn an_address_is_logged_once_a_minute_with_the_number_of_its_other_refusals() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let refusals = Refusals::new(clock.clone());
        assert_eq!(refusals.due(Some(network(1))), Some((Some(network(1)), 0)));
        for _ in 0..1000 {
            assert_eq!(refusals.due(Some(network(1))), None);
        }
        assert_eq!(refusals.due(Some(network(2))), Some((Some(network(2)), 0)));
        clock.advance(QUIET);
        assert_eq!(
            refusals.due(Some(network(1))),
            Some((Some(network(1)), 1000))
        );
        assert_eq!(refusals.due(Some(network(1))), None);
    }

    #[test]
    fn many_addresses_share_a_line_and_take_no_more_memory() {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let refusals = Refusals::new(clock.clone());
        let lines = (0..100_000).filter_map(|number| refusals.due(Some(network(number))));
        assert_eq!(lines.count(), MAX_ADDRESSES + 1);
        assert!(refusals.known.lock().expect("no panic").addresses.len() <= MAX_ADDRESSES + 1);
        clock.advance(2 * QUIET);
        assert_eq!(
            refusals.due(Some(network(200_000))),
            Some((Some(network(200_000)), 0))
        );
    }
}
