//! Behaviour, through the real server and a real client.

mod federated_login;
mod frame;
mod id_token;
mod main_job;
mod provider;
mod reconnect;
mod renewal;
mod resolve;
mod resolve_safety;
mod store;
mod support;
mod targets;
