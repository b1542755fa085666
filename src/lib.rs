//! Countersign: a gRPC identity service for chat and agent platforms. ARCHITECTURE.md is the map.

/// From settings to a running service, and its orderly end.
pub mod app;
/// Accounts and sign-in.
mod auth;
/// Who calls: the callers' file, credentials and permissions.
pub mod caller;
/// The command line.
pub mod cli;
/// Time.
pub mod clock;
/// The only reader of the environment.
pub mod config;
/// The one error of the service.
pub mod error;
/// The user's provider tokens: held, renewed and put where placeholders stand for them.
mod federation;
/// What follows the store's changes.
mod feed;
/// The gRPC services: requests parsed into commands, answers written.
pub mod grpc;
/// What of the service is in order.
pub mod health;
/// The one hardened outbound HTTP client.
mod http;
/// Identifiers.
mod id;
/// Strict parsing, checking and signing of JSON Web Tokens.
pub mod jose;
/// The processors and the memory that the process may use.
pub mod machine;
/// What the service counts and measures.
pub mod metrics;
/// The nouns: plain data without I/O.
mod model;
/// Violations, scores, bans and limits.
mod moderation;
/// The HTTP side listener: metrics and probes.
mod ops;
/// Who signs users in: one enum over the kinds of provider.
mod provider;
/// Files that are read again while the service runs.
pub mod reload;
/// Lines of the log that may come only so often.
mod repeats;
/// Randomness, secrets that cannot be printed, and sealing.
pub mod secret;
/// The gRPC listener.
pub mod server;
/// Everything durable.
mod store;
/// One lifecycle for everything that has to end in order.
pub mod tasks;
/// Logging.
mod telemetry;
/// Templates: LibreChat's placeholders, parsed and rendered without I/O.
mod template;
/// Sessions and their tokens.
mod token;
/// The spans of calls, and the ids of calls for the log.
mod trace;
/// What every call passes, whatever the service.
pub mod transport;
