//! COUNTERSIGN_LOG and COUNTERSIGN_LOG_FORMAT.

use tracing_subscriber::EnvFilter;

use super::reader::Reader;

/// Logging.
#[derive(Debug)]
pub struct Log {
    /// COUNTERSIGN_LOG: a `tracing` filter, default `info`.
    pub filter: String,
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

/// Reads COUNTERSIGN_LOG and COUNTERSIGN_LOG_FORMAT.
pub(super) fn read(r: &mut Reader<'_>) -> Log {
    let filter = r.parse("COUNTERSIGN_LOG", |text| match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be a filter such as info or info,countersign=debug"),
    });
    let format = r.parse("COUNTERSIGN_LOG_FORMAT", |text| match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json"),
    });
    Log {
        filter: filter.unwrap_or_else(|| "info".to_owned()),
        format: format.unwrap_or(LogFormat::Text),
    }
}
