//! Connections that no known caller has used yet: how many there may be, and which one makes room.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use super::limits::Limits;
use crate::metrics::{Closed, Connections, GaugeGuard};
use crate::model::ip_address::IpAddress;
use crate::model::network::Network;

/// The connections that no known caller has used yet, by address. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct PendingConnections {
    by_address: Arc<Mutex<ByAddress>>,
    metrics: Arc<Connections>,
}

type ByAddress = HashMap<Network, VecDeque<Arc<Nudge>>>;

/// One connection that has not been used yet; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Pending {
    all: PendingConnections,
    pub(super) network: Network,
    pub(super) nudge: Arc<Nudge>,
    _counted: GaugeGuard,
}

impl Pending {
    /// What is counted of connections.
    pub(super) fn metrics(&self) -> &Arc<Connections> {
        &self.all.metrics
    }
}

/// Wakes a connection that waits for its first call, and tells it if it has to make room.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    waker: AtomicWaker,
    evicted: AtomicBool,
    asked: AtomicBool,
}

impl Nudge {
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Notes a call that needs no caller.
    pub(super) fn note_asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether the connection has to make room for others.
    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }
}

impl PendingConnections {
    pub(super) fn new(metrics: Arc<Connections>) -> Self {
        Self {
            by_address: Arc::default(),
            metrics,
        }
    }

    /// Counts a connection. If its address has as many as it may have, another one of it makes room,
    /// or the connection is refused, as the limits say. If all addresses together have as many as they
    /// may have, another one makes room.
    pub(super) fn enter(&self, ip: IpAddr, limits: Limits) -> Option<Pending> {
        let network = IpAddress::from(ip).network();
        let mut all = self.lock();
        self.metrics.accepted.inc();
        let same = all.get_mut(&network);
        if let Some(same) = same.filter(|same| same.len() >= limits.pending) {
            if !limits.makes_room {
                self.metrics.closed.of(Closed::AddressLimit).inc();
                return None;
            }
            let among = same.len();
            close_oldest(same, among);
        }
        if all.values().map(VecDeque::len).sum::<usize>() >= limits.pending_in_all {
            evict(&mut all, None);
        }
        let nudge = Arc::new(Nudge::default());
        all.entry(network)
            .or_default()
            .push_back(Arc::clone(&nudge));
        drop(all);
        Some(Pending {
            all: self.clone(),
            network,
            nudge,
            _counted: GaugeGuard::new(&self.metrics.pending),
        })
    }

    /// Tells one connection to make room for this one, if there is another.
    pub(super) fn make_room(&self, newcomer: &Pending) {
        evict(&mut self.lock(), Some(&newcomer.nudge));
    }

    fn lock(&self) -> MutexGuard<'_, ByAddress> {
        self.by_address
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the oldest connection of the address that has the most to make room: whoever opens many to
/// keep others out loses them first, and a backend makes its first call long before its connection is
/// the oldest. The newcomer, which is the youngest of its address, is not among them.
fn evict(all: &mut ByAddress, newcomer: Option<&Arc<Nudge>>) {
    let is_newcomer = |nudge: &Arc<Nudge>| newcomer.is_some_and(|new| Arc::ptr_eq(new, nudge));
    let others =
        |same: &VecDeque<_>| same.len() - usize::from(same.back().is_some_and(is_newcomer));
    let most = all
        .values_mut()
        .filter(|same| others(same) > 0)
        .max_by_key(|same| others(same));
    if let Some(same) = most {
        let among = others(same);
        close_oldest(same, among);
    }
}

/// Closes the oldest of the first `among` connections on which nothing was asked, or else the oldest.
fn close_oldest(same: &mut VecDeque<Arc<Nudge>>, among: usize) {
    let has_asked = |nudge: &Arc<Nudge>| nudge.asked.load(Ordering::Relaxed);
    let silent = same.iter().take(among).position(|one| !has_asked(one));
    if let Some(oldest) = same.remove(silent.unwrap_or_default()) {
        oldest.evicted.store(true, Ordering::SeqCst);
        oldest.wake();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        let Some(same) = all.get_mut(&self.network) else {
            return;
        };
        same.retain(|nudge| !Arc::ptr_eq(nudge, &self.nudge));
        if same.is_empty() {
            all.remove(&self.network);
        }
    }
}
