//! What the calls of one connection occupy.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::pending::{Nudge, Pending};
use crate::caller::Certificate;
use crate::metrics::{Closed, Connections, GaugeGuard};
use crate::model::network::Network;
use crate::transport::load::Budget;
use crate::transport::tls::Peer;

/// The bytes of a connection's large messages in memory.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How many calls that need no caller may be open on a connection. A client that watches the health
/// of each service has five.
const MAX_PUBLIC: usize = 8;

/// Counts the calls of a connection; an extension of each of its requests.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    /// Admitted calls in flight.
    open: AtomicU64,
    /// Calls that were admitted so far.
    admitted: AtomicU64,
    /// Calls in flight that need no caller.
    public: AtomicUsize,
    network: Network,
    /// Who presented a certificate, once the handshake is done.
    peer: OnceLock<Peer>,
    nudge: Arc<Nudge>,
    /// Until the first call is admitted.
    pending: Mutex<Option<Pending>>,
    bytes: Budget,
    answers: Answers,
    metrics: Arc<Connections>,
    /// Why the service closes it.
    closed: OnceLock<Closed>,
    ends_after_calls: CancellationToken,
    refuses_calls: AtomicBool,
    _counted: GaugeGuard,
}

/// Answers that the caller has not taken yet, by the period in which they began.
#[derive(Debug, Default)]
struct Answers {
    period: AtomicUsize,
    begun: [AtomicUsize; 2],
}

/// An admitted call; its connection is in use until this is dropped.
#[derive(Debug)]
pub(in crate::transport) struct OpenCall(Usage);

/// A call that needs no caller, until it is dropped.
#[derive(Debug)]
pub(in crate::transport) struct PublicCall(Usage);

/// A part of an answer that the caller has not taken yet, until it is dropped.
#[derive(Debug)]
pub(in crate::transport) struct Untaken {
    usage: Usage,
    period: usize,
}

impl Usage {
    pub(super) fn new(pending: Pending) -> Self {
        Self(Arc::new(Counts {
            open: AtomicU64::new(0),
            admitted: AtomicU64::new(0),
            public: AtomicUsize::new(0),
            network: pending.network,
            peer: OnceLock::new(),
            nudge: Arc::clone(&pending.nudge),
            metrics: Arc::clone(pending.metrics()),
            closed: OnceLock::new(),
            ends_after_calls: CancellationToken::new(),
            refuses_calls: AtomicBool::new(false),
            _counted: GaugeGuard::new(&pending.metrics().open),
            pending: Mutex::new(Some(pending)),
            bytes: Budget::new(MAX_BYTES),
            answers: Answers::default(),
        }))
    }

    /// Notes that a call was admitted.
    pub(in crate::transport) fn begin(&self) -> OpenCall {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        if self.0.admitted.fetch_add(1, Ordering::SeqCst) == 0 {
            let mut pending = self
                .0
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            drop(pending.take());
            self.0.nudge.wake();
        }
        OpenCall(self.clone())
    }

    /// Notes a call that needs no caller; `None` if there are too many.
    pub(in crate::transport) fn begin_public(&self) -> Option<PublicCall> {
        let call = PublicCall(self.clone());
        self.0.nudge.note_asked();
        let before = self.0.public.fetch_add(1, Ordering::SeqCst);
        (before < MAX_PUBLIC).then_some(call)
    }

    /// Notes a part of an answer that is handed to the connection.
    pub(in crate::transport) fn answer(&self) -> Untaken {
        let answers = &self.0.answers;
        let period = answers.period.load(Ordering::SeqCst) % 2;
        answers.begun[period].fetch_add(1, Ordering::SeqCst);
        Untaken {
            usage: self.clone(),
            period,
        }
    }

    /// Begins a new period; `false` if an answer from before the last one was not taken yet.
    pub(in crate::transport) fn next_period(&self) -> bool {
        let answers = &self.0.answers;
        let next = (answers.period.fetch_add(1, Ordering::SeqCst) + 1) % 2;
        answers.begun[next].load(Ordering::SeqCst) == 0
    }

    /// Notes that the service closes the connection, and why.
    pub(super) fn close(&self, reason: Closed) {
        if self.0.closed.set(reason).is_ok() {
            self.0.metrics.closed.of(reason).inc();
        }
    }

    /// Ends the connection after the calls in flight; it takes no new ones, so its peer has to connect
    /// again.
    pub(super) fn end_after_calls(&self, reason: Closed) {
        self.close(reason);
        self.0.ends_after_calls.cancel();
    }

    /// Cancelled once the connection is to end after the calls in flight.
    pub(super) fn ends_after_calls(&self) -> CancellationToken {
        self.0.ends_after_calls.clone()
    }

    /// Lets no further calls in.
    pub(in crate::transport) fn refuse_calls(&self) {
        self.0.refuses_calls.store(true, Ordering::Relaxed);
    }

    /// Whether further calls are refused.
    pub(in crate::transport) fn refuses_calls(&self) -> bool {
        self.0.refuses_calls.load(Ordering::Relaxed)
    }

    /// The bytes of the connection's large messages.
    pub(in crate::transport) fn bytes(&self) -> &Budget {
        &self.0.bytes
    }

    /// The address of the peer.
    pub(in crate::transport) fn network(&self) -> Network {
        self.0.network
    }

    /// Notes who presented a certificate.
    pub(super) fn identify(&self, peer: Peer) {
        let _only_one_handshake = self.0.peer.set(peer);
    }

    /// The certificate of the peer, if it presented one that is still good.
    pub(in crate::transport) fn certificate(&self) -> Option<&Certificate> {
        self.0.peer.get()?.certificate()
    }

    /// Why the peer has to connect again, if it presented a certificate that is no longer trusted or
    /// ends within this time.
    pub(super) fn outdated(&self, within: Duration) -> Option<Closed> {
        let peer = self.0.peer.get()?;
        if !peer.is_trusted() {
            return Some(Closed::CertificateUntrusted);
        }
        peer.ends_within(within).then_some(Closed::CertificateEnds)
    }

    pub(super) fn nudge(&self) -> &Nudge {
        &self.0.nudge
    }

    /// Whether an admitted call is in flight.
    pub(in crate::transport) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::SeqCst) > 0
    }

    /// Whether a call that needs no caller is in flight.
    pub(super) fn is_asked(&self) -> bool {
        self.0.public.load(Ordering::SeqCst) > 0
    }

    /// How many calls were admitted so far.
    pub(super) fn admitted(&self) -> u64 {
        self.0.admitted.load(Ordering::SeqCst)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for PublicCall {
    fn drop(&mut self) {
        self.0.0.public.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        let begun = &self.usage.0.answers.begun;
        begun[self.period].fetch_sub(1, Ordering::SeqCst);
    }
}
