//! What every call passes, whatever the service: connections, the layer around a call, routes,
//! statuses, limits on what calls occupy, and the end of streams when the service stops.

mod admitted;
mod call;
mod connection;
mod drain;
mod frame;
mod health;
mod health_client;
mod load;
mod protocol;
mod refusals;
mod request;
mod routes;
mod status;
mod tls;

pub use admitted::{caller, permission};
pub use connection::{Listener, connections, health_connections, serve_connections};
pub use frame::CallService;
pub use health::HealthStatuses;
pub use health_client::ask_health;
pub use routes::{MAX_REQUEST, Route, Routes};
pub use status::status;
pub use tls::{Certified, ClientCa, Tls};
