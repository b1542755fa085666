//! What the tests use: databases, the running service, its callers and providers.

pub mod authority;
pub mod binary;
pub mod browser;
pub mod callers;
pub mod calls;
pub mod collector;
pub mod engine;
pub mod federated;
pub mod hostile;
pub mod issuer;
pub mod logs;
pub mod mount;
pub mod mutual;
pub mod probe;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod shape;
pub mod sources;
pub mod sweep;
pub mod world;

pub use calls::{client, reason};
pub use engine::{Engine, on_each_engine};
pub use world::World;
