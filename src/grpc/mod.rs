//! The gRPC surface: translates, and decides nothing.

pub mod api;
mod auth_service;
pub mod call;
pub mod caller;
pub mod connection;
mod convert;
pub mod drain;
mod federation_service;
mod moderation_service;
pub mod page;
pub mod proto;
pub mod request;
pub mod routes;
pub mod status;
mod subject;
mod token_service;
pub mod unfinished;
