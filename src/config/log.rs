//! COUNTERSIGN_LOG, COUNTERSIGN_LOG_FILTER_FILE and COUNTERSIGN_LOG_FORMAT.

use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;

use super::file;
use super::reader::Reader;

const FILTER: &str = "COUNTERSIGN_LOG";
const FILTER_FILE: &str = "COUNTERSIGN_LOG_FILTER_FILE";

/// Logging.
#[derive(Debug)]
pub struct Log {
    /// COUNTERSIGN_LOG, or what the filter file holds: a `tracing` filter, default `info`.
    pub filter: String,
    /// COUNTERSIGN_LOG_FILTER_FILE: a file with the filter, which may change.
    pub filter_file: Option<PathBuf>,
    /// COUNTERSIGN_LOG_FORMAT.
    pub format: LogFormat,
}

/// COUNTERSIGN_LOG_FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people (the default).
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads COUNTERSIGN_LOG, COUNTERSIGN_LOG_FILTER_FILE and COUNTERSIGN_LOG_FORMAT.
pub(super) fn read(r: &mut Reader<'_>) -> Log {
    let filter = r.parse(FILTER, parse_filter);
    let filter_file = r.text(FILTER_FILE).map(PathBuf::from);
    if filter.is_some() && filter_file.is_some() {
        let both = format!("is set, and so is {FILTER_FILE}: set only one of them");
        r.mistake(FILTER, both);
    }
    let of_file = filter_file.as_deref().map(read_filter);
    let of_file = of_file.and_then(|read| read.map_err(|fault| r.mistake(FILTER_FILE, fault)).ok());
    let format = r.parse("COUNTERSIGN_LOG_FORMAT", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json"),
    });
    Log {
        filter: of_file.or(filter).unwrap_or_else(|| "info".to_owned()),
        filter_file,
        format: format.unwrap_or(LogFormat::Text),
    }
}

fn parse_filter(text: &str) -> Result<String, &'static str> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be a filter such as info or info,countersign=debug"),
    }
}

/// The filter that a file holds.
///
/// # Errors
/// What is wrong with the file, as the rest of a sentence that begins with the setting's name.
pub fn read_filter(path: &Path) -> Result<String, String> {
    let text = file::read_text(path)
        .map_err(|error| format!("names a file that cannot be read: {error}"))?;
    match text.trim() {
        "" => Err("names an empty file".to_owned()),
        text => parse_filter(text).map_err(|fault| format!("names a file whose text {fault}")),
    }
}
