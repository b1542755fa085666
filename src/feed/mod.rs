//! Follows the store's changes.

pub mod cache;
mod stamps;
