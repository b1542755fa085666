//! The gRPC surface: translates, and decides nothing.

pub mod proto;
