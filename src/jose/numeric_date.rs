//! Times in tokens.

use serde_json::Value;

use crate::clock::Timestamp;

/// Seconds since the epoch, rounded down (RFC 7519 section 2); `None` after the year 9999.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
#[must_use]
pub fn numeric_date(value: Option<&Value>) -> Option<Timestamp> {
    const YEAR_9999: f64 = 253_402_300_799.0;
    let seconds = value?.as_f64()?;
    (0.0..=YEAR_9999)
        .contains(&seconds)
        .then(|| Timestamp::from_secs(seconds as i64))
}
