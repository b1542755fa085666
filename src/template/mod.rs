//! Templates with LibreChat's placeholders: parsed once and rendered in one pass, without I/O.

pub mod batch;
mod declared;
mod header;
mod lines;
pub mod object;
pub mod outcome;
pub mod parser;
mod render;
mod sink;
mod url;
pub mod values;
pub mod vocabulary;
