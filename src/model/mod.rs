//! The nouns: plain data without I/O, and the values that a request is parsed into.

pub mod account;
pub mod algorithm;
pub mod ban;
pub mod change;
pub mod email;
pub mod identity;
pub mod ip_address;
pub mod network;
pub mod page;
pub mod password;
pub mod provider_tokens;
pub mod request_id;
pub mod return_path;
pub mod sealed;
pub mod session;
pub mod signing_key;
pub mod violation;
