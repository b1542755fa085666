//! COUNTERSIGN_LOG, COUNTERSIGN_LOG_FILTER_FILE and COUNTERSIGN_LOG_FORMAT.

use std::path::{Path, PathBuf};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::env::Env;
use super::file;
use super::reader::Reader;

const FILTER: &str = "COUNTERSIGN_LOG";
const FILTER_FILE: &str = "COUNTERSIGN_LOG_FILTER_FILE";
const FORMAT: &str = "COUNTERSIGN_LOG_FORMAT";
/// The crates that log.
const CRATES: [&str; 13] = [
    "countersign",
    "h2",
    "hyper",
    "hyper_util",
    "openidconnect",
    "reqwest",
    "rustls",
    "sqlx",
    "sqlx_core",
    "sqlx_postgres",
    "sqlx_sqlite",
    "tonic",
    "tower",
];

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

impl LogFormat {
    /// What COUNTERSIGN_LOG_FORMAT asks for, whatever is wrong with other settings.
    #[must_use]
    pub fn of(env: &Env) -> Self {
        let format = Reader::new(env).parse(FORMAT, parse_format);
        format.unwrap_or(Self::Text)
    }
}

fn parse_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be text or json"),
    }
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
    let format = r.parse(FORMAT, parse_format);
    Log {
        filter: of_file.or(filter).unwrap_or_else(|| "info".to_owned()),
        filter_file,
        format: format.unwrap_or(LogFormat::Text),
    }
}

fn parse_filter(text: &str) -> Result<String, &'static str> {
    if EnvFilter::try_new(text).is_err() {
        return Err("must be a filter such as info or info,countersign=debug");
    }
    if !text.split(',').all(is_understood) {
        return Err(
            "has a part without = that is neither a level nor a module that logs: it must be a filter such as info or info,countersign=debug",
        );
    }
    Ok(text.to_owned())
}

/// Whether a part of a filter is more than a word that nothing is known of. A word is the name of a
/// module, and a filter of such names alone shows nothing: half of `info` would be one.
fn is_understood(part: &str) -> bool {
    let part = part.trim();
    let has_level = part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok();
    has_level
        || part
            .split("::")
            .next()
            .is_some_and(|root| CRATES.contains(&root))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_neither_a_level_nor_a_module_that_logs_is_no_filter() {
        for good in [
            "info",
            "WARN",
            "0",
            "info,",
            "info, sqlx",
            "countersign::store,warn",
            "elsewhere=debug",
            "[span]",
            "off,h2[{stream=1}]=debug",
        ] {
            assert_eq!(parse_filter(good).as_deref(), Ok(good));
        }
        for half in ["in", "info,counter", "countersig", "6", "infocountersign"] {
            let fault = parse_filter(half).expect_err(half);
            assert!(fault.starts_with("has a part without ="), "{half}: {fault}");
        }
        let broken = parse_filter("info,countersign=de").expect_err("no level");
        assert!(broken.starts_with("must be a filter"), "{broken}");
    }
}
