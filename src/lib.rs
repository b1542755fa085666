//! Countersign: a gRPC identity service for chat and agent platforms.

pub mod app;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod federation;
pub mod grpc;
pub mod http;
pub mod id;
pub mod jose;
pub mod moderation;
pub mod secret;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod token;
