//! Who calls: the callers' file, credentials and permissions. Default deny.

mod certificate;
mod context;
mod credential;
mod file;
mod gate;
mod limits;
mod permission;
mod reload;

pub use certificate::Certificate;
pub use context::CallerContext;
pub use credential::new_token;
pub use file::{Caller, Callers};
pub use gate::Gate;
pub use limits::{CallPlace, Limits, Rate};
pub use permission::{Permission, Permissions};
pub use reload::watched;
