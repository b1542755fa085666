//! Behaviour, through the real server and a real client.

mod accounts;
mod bad_tokens;
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
mod recovery;
mod refresh;
mod renewal;
mod resolve;
mod resolve_safety;
mod sessions;
mod store;
mod support;
mod targets;
mod verify;
mod wire;
