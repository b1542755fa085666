//! What a connection may take and occupy before the service closes it.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a connection may take until the first call of a known caller begins, and how long its
    /// peer may take to take an answer. That is closed before twice this time has passed.
    pub period: Duration,
    /// After how many periods a connection is checked for calls of known callers again. One without a
    /// call for so long is closed before twice this time has passed; gRPC clients reconnect by
    /// themselves.
    pub idle: u32,
    /// How many connections from one address may have had no such call yet; further ones are closed
    /// at once, unless others make room. Callers that share an address (a sidecar, loopback) make a call as soon as they
    /// have connected. But if somebody at the same address keeps this many unused connections open,
    /// new connections from it are refused, and only those in use go on.
    pub pending: usize,
    /// How many such connections there may be from all addresses; a further one takes the place of
    /// another.
    pub pending_in_all: usize,
    /// Whether a further connection of an address that has as many as it may have takes the place of
    /// the oldest one, before those on which something was asked.
    pub makes_room: bool,
    /// Whether a call that needs no caller keeps its connection open, too.
    pub public_counts: bool,
    /// How often a connection is checked for calls of known callers once the service stops. Until the
    /// first check its peer can take the GOAWAY; calls that it begins later are refused.
    pub ending: Duration,
    /// After how many of these checks it is checked for answers that its peer does not take. That is
    /// closed before twice this time has passed.
    pub untaken: u32,
}
