//! What follows the store's changes.

pub mod cache;
