//! Behaviour, through the real server and a real client.

mod frame;
mod main_job;
mod provider;
mod store;
mod support;
