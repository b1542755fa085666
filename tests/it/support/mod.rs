//! What the tests stand on: engines, the running service, its callers' side, and real parts.

pub mod browser;
pub mod calls;
pub mod engine;
pub mod logs;
pub mod provider;
pub mod sweep;
pub mod world;

pub use calls::{client, reason};
pub use engine::{Engine, on_each_engine};
pub use world::World;
