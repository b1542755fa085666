//! Templates: LibreChat's placeholders, read once and rendered in one pass. Nothing here does I/O.

pub mod batch;
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
