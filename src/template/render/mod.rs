//! One pass from templates to values: what is inserted is never read again.

mod attempt;
mod credential;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::attempt::Attempt;
use super::batch::Batch;
use super::outcome::{RenderError, Rendered, ResolveOptions};
use super::values::Values;

/// The most that all values of one call may weigh, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 4 << 20;

impl Batch {
    /// Fills in every template.
    ///
    /// # Errors
    /// `Unresolved` with all failing outcomes at once, or `OutputTooLarge`.
    pub fn render(
        &self,
        values: &impl Values,
        options: ResolveOptions,
    ) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered {
            values: Vec::new(),
            outcomes: Vec::new(),
            released: BTreeSet::new(),
        };
        let mut failed = Vec::new();
        let (mut room_in, mut room_out) = (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES);
        for entry in &self.entries {
            let mut attempt = Attempt::new(entry, options);
            for segment in entry.template().segments() {
                let written = attempt.write(segment, values);
                spend(&mut room_in, written)?;
            }
            let end = attempt.finish();
            spend(&mut room_out, end.text.as_ref().map_or(0, String::len))?;
            rendered.values.push(end.text);
            rendered.released.extend(end.released);
            failed.extend(end.failed);
            rendered.outcomes.extend(end.outcomes);
        }
        if failed.is_empty() {
            Ok(rendered)
        } else {
            Err(RenderError::Unresolved(failed))
        }
    }
}

fn spend(room: &mut usize, bytes: usize) -> Result<(), RenderError> {
    *room = room.checked_sub(bytes).ok_or(RenderError::OutputTooLarge)?;
    Ok(())
}
