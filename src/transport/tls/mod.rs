//! TLS 1.2 and 1.3: the service's certificate, the authorities of callers' certificates, and what
//! the peer of a connection has proven to be. All of it may be replaced while the service runs.

mod certificate;
mod client;
mod in_force;
mod material;
mod peer;
#[cfg(test)]
pub(super) mod testing;

pub(super) use client::client;
pub(super) use in_force::H2;
pub use in_force::Tls;
pub use material::{Certified, ClientCa};
pub(super) use peer::Peer;
