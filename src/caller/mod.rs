//! Who calls: the callers' file, credentials and permissions. Default deny.

mod certificate;
mod context;
mod credential;
mod file;
mod gate;
mod jwt;
mod key_source;
mod keys;
mod limits;
mod permission;
mod reload;

pub use certificate::Certificate;
pub use context::CallerContext;
pub use credential::new_token;
pub use file::{Caller, Callers, Surroundings};
pub use gate::{Gate, Identified};
pub use key_source::{Jwt, KeySource, KeyUrl};
pub use keys::Wait;
pub use limits::{CallPlace, Limits, Rate};
pub use permission::{Permission, Permissions};
pub use reload::watched;
