//! What every call passes, whatever the service: connections, the layer around a call, routes,
//! statuses, limits on what calls occupy, and the end of streams when the service stops.

mod call;
mod connection;
mod drain;
mod frame;
mod load;
mod protocol;
mod refusals;
mod request;
mod routes;
mod status;

pub use call::caller;
pub use connection::connections;
pub use frame::CallService;
pub use routes::{MAX_REQUEST, Route, Routes};
pub use status::status;
