//! Behaviour, through the real server and a real client.

mod accounts;
mod bans;
mod callers;
mod federated_login;
mod frame;
mod id_token;
mod layers;
mod login;
mod main_job;
mod moderation;
mod provider;
mod reconnect;
mod renewal;
mod resolve;
mod resolve_safety;
mod store;
mod support;
mod targets;
