//! Placeholders: what `LibreChat`'s names mean, and where their values may go.

pub mod header;
pub mod placeholder;
pub mod render;
pub mod request;
mod sink;
pub mod target;
mod url;
pub mod vocabulary;
