//! Renders templates in one pass: inserted values are never parsed again.

mod credential;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::entry::EntryRenderer;
use super::batch::Batch;
use super::outcome::{Outcome, RenderError, Rendered, ResolveOptions};
use super::values::Values;

/// The most bytes of all values and outcomes of one call together, before and after encoding.
/// Templates may repeat a long value thousands of times, and outcomes the name of their entry.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

impl Batch {
    /// Renders every template. The error lists all failing placeholders of all entries at once.
    pub fn render(
        &self,
        values: &impl Values,
        options: ResolveOptions,
    ) -> Result<Rendered, RenderError> {
        let mut result = Rendered {
            values: Vec::new(),
            outcomes: Vec::new(),
            released: BTreeSet::new(),
        };
        let mut failed = Vec::new();
        // The first stops the work early; the second counts what encoding adds.
        let (mut raw_budget, mut output_budget) = (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES);
        for entry in &self.entries {
            let mut renderer = EntryRenderer::new(entry, options);
            for segment in entry.template().segments() {
                let written = renderer.write(segment, values);
                spend(&mut raw_budget, written)?;
            }
            let finished = renderer.finish();
            spend(
                &mut output_budget,
                finished.text.as_ref().map_or(0, String::len),
            )?;
            spend(&mut output_budget, size(&finished.outcomes))?;
            result.values.push(finished.text);
            result.released.extend(finished.released);
            failed.extend(finished.failed);
            result.outcomes.extend(finished.outcomes);
        }
        if failed.is_empty() {
            Ok(result)
        } else {
            Err(RenderError::Unresolved(failed))
        }
    }
}

/// Each outcome repeats the name of its entry.
fn size(outcomes: &[Outcome]) -> usize {
    let size = |outcome: &Outcome| outcome.entry.len() + outcome.placeholder.len();
    outcomes.iter().map(size).sum()
}

fn spend(budget: &mut usize, bytes: usize) -> Result<(), RenderError> {
    *budget = budget
        .checked_sub(bytes)
        .ok_or(RenderError::OutputTooLarge)?;
    Ok(())
}
