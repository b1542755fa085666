//! The gRPC surface: translates, and decides nothing.

pub mod caller;
pub mod connection;
pub mod drain;
pub mod proto;
pub mod request;
pub mod routes;
pub mod status;
