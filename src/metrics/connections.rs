//! Connections of the main gRPC listener.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::label::{Cells, label};
use super::register::register;

label! {
    /// Why the service closed a connection.
    Closed = "reason" {
        /// Too many connections from its address had had no call of a known caller.
        AddressLimit = "address_limit",
        /// It had had no such call, and made room for another one.
        MadeRoom = "made_room",
        /// It had had no such call for too long.
        Unused = "unused",
        /// Its peer did not take an answer.
        AnswerNotTaken = "answer_not_taken",
        /// Its TLS handshake failed.
        Handshake = "handshake",
        /// Its peer's certificate expires soon, so the peer has to connect again.
        CertificateEnds = "certificate_ends",
        /// No authority that is in force signed its peer's certificate.
        CertificateUntrusted = "certificate_untrusted",
    }
}

/// What is counted of connections.
#[derive(Debug, Default)]
pub struct Connections {
    pub accepted: Counter,
    pub open: Gauge,
    /// Those of them that have had no call of a known caller.
    pub pending: Gauge,
    pub closed: Cells<Closed, Counter>,
}

impl Connections {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            accepted: register(
                registry,
                "countersign_connections_accepted",
                "Connections that were accepted",
            ),
            open: register(
                registry,
                "countersign_connections_open",
                "Connections that are open",
            ),
            pending: register(
                registry,
                "countersign_connections_pending",
                "Connections that have had no call of a known caller",
            ),
            closed: register(
                registry,
                "countersign_connections_closed",
                "Connections that the service closed, or whose peer it told to connect again",
            ),
        }
    }
}
