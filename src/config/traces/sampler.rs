//! OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.

use super::variables::Variables;

/// Which calls are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the decision of a caller that made one is followed.
    pub is_parent_based: bool,
    /// The share of the other calls, from 0 to 1.
    pub ratio: f64,
}

/// The ratio counts only if the sampler asks for one.
pub(super) fn read(v: &mut Variables<'_, '_>) -> Sampler {
    let name = v.read(&["OTEL_TRACES_SAMPLER"], |text| {
        let text = text.to_ascii_lowercase();
        let root = text.strip_prefix("parentbased_");
        share_of(root.unwrap_or(&text)).map(|share| (root.is_some(), share))
    });
    let ratio = v.first(&["OTEL_TRACES_SAMPLER_ARG"]);
    let (is_parent_based, share) = name.unwrap_or((true, Some(1.0)));
    let share = share.or_else(|| v.parse(ratio, ratio_of));
    Sampler {
        is_parent_based,
        ratio: share.unwrap_or(1.0),
    }
}

/// The share of a sampler; `None` if it takes the ratio.
fn share_of(root: &str) -> Result<Option<f64>, &'static str> {
    match root {
        "always_on" => Ok(Some(1.0)),
        "always_off" => Ok(Some(0.0)),
        "traceidratio" => Ok(None),
        _ => {
            Err("must be always_on, always_off or traceidratio, or one of them after parentbased_")
        }
    }
}

fn ratio_of(text: &str) -> Result<f64, &'static str> {
    let ratio = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or("must be a number from 0 to 1")
}
