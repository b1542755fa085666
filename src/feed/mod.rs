//! The change feed: follows what all processes commit, so that what is remembered counts until it
//! changes.

pub mod cache;
pub mod flight;
mod follower;
mod stamps;

pub use follower::Feed;
