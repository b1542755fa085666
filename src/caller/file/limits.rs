//! The limits of a caller as the callers' file has them.

use serde::Deserialize;

use super::words::{Unknown, unknown_keys};
use crate::caller::limits::{Limits, Rate};

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    per_second: Option<u64>,
    burst: Option<u64>,
    concurrent: Option<u64>,
    #[serde(flatten)]
    unknown: Unknown,
}

/// The limits of the entry; what is wrong with them is added to the faults.
pub(super) fn check(entry: Option<&Entry>, faults: &mut Vec<String>) -> Limits {
    let Some(entry) = entry else {
        return Limits::default();
    };
    faults.extend(unknown_keys(&entry.unknown));
    if entry.per_second.is_none() && entry.concurrent.is_none() {
        faults.push("has limits with neither per_second nor concurrent".to_owned());
    }
    if entry.burst.is_some() && entry.per_second.is_none() {
        faults.push("has limits with a burst but without per_second".to_owned());
    }
    let mut number = |name: &str, value: Option<u64>| {
        let value = value?;
        let number = u32::try_from(value).ok();
        let number = number.filter(|number| (1..=Rate::MAX).contains(number));
        if number.is_none() {
            let most = Rate::MAX;
            faults.push(format!(
                "has limits with a {name} that is not a whole number from 1 to {most}"
            ));
        }
        number
    };
    let per_second = number("per_second", entry.per_second);
    let burst = number("burst", entry.burst);
    Limits {
        rate: per_second.map(|per_second| Rate {
            per_second,
            burst: burst.unwrap_or(per_second),
        }),
        concurrent: number("concurrent", entry.concurrent),
    }
}
