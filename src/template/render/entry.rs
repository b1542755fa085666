//! Renders one entry.

use std::collections::{BTreeSet, HashMap};

use super::credential::Credential;
use crate::template::batch::{Entry, Permit, Place};
use crate::template::lines;
use crate::template::outcome::{Outcome, ResolveOptions};
use crate::template::parser::Segment;
use crate::template::sink::Line;
use crate::template::values::{Value, Values};
use crate::template::vocabulary::{OnUnresolved, Placeholder, Sink, Status};

/// What becomes of the entry. The order counts: the worst that any of its placeholders causes
/// applies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Decision {
    /// Its value is returned.
    Return,
    /// It is left out.
    Omit,
    /// The whole call fails.
    Fail,
}

/// The outcome of one placeholder.
struct Note<'a> {
    source: &'a str,
    status: Status,
    fails: bool,
}

/// Renders one entry, segment by segment.
pub(super) struct EntryRenderer<'a> {
    entry: &'a Entry,
    options: ResolveOptions,
    line: Box<dyn Line>,
    decision: Decision,
    notes: Vec<Note<'a>>,
    /// The index in `notes` by the placeholder as it was written.
    by_source: HashMap<&'a str, usize>,
    /// The user's tokens that the value contains.
    released: BTreeSet<Placeholder>,
    credential: Credential<'a>,
}

/// A rendered entry.
pub(super) struct RenderedEntry {
    /// `None` if the entry is left out or the call fails.
    pub(super) text: Option<String>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) failed: Vec<Outcome>,
    pub(super) released: BTreeSet<Placeholder>,
}

impl<'a> EntryRenderer<'a> {
    pub(super) fn new(entry: &'a Entry, options: ResolveOptions) -> Self {
        Self {
            entry,
            options,
            line: lines::open(entry.sink(), options.user_authored),
            decision: Decision::Return,
            notes: Vec::new(),
            by_source: HashMap::new(),
            released: BTreeSet::new(),
            credential: Credential::new(entry),
        }
    }

    /// Writes one segment and returns how many bytes it added, before any encoding.
    pub(super) fn write(&mut self, segment: &'a Segment, values: &impl Values) -> usize {
        match segment {
            Segment::Text(text) => self.operator(text),
            Segment::Placeholder {
                source,
                placeholder,
            } => match self.entry.permit(placeholder, self.options.user_authored) {
                Permit::Literal(status) => self.literal(source, placeholder, status),
                Permit::Refuse(status) => self.unresolved(source, placeholder, status),
                Permit::Resolve => self.resolve(source, placeholder, values.value(placeholder)),
            },
        }
    }

    /// Writes a value, or treats the placeholder as unresolved if there is none.
    fn resolve(&mut self, source: &'a str, placeholder: &Placeholder, value: Value<'_>) -> usize {
        let is_env = matches!(placeholder, Placeholder::Env(_));
        match value {
            Value::Unresolved(status @ Status::UnknownName)
                if matches!(placeholder, Placeholder::Custom(_)) =>
            {
                self.literal(source, placeholder, status)
            }
            Value::Unresolved(Status::Resolved) => {
                self.unresolved(source, placeholder, Status::Missing)
            }
            Value::Unresolved(status) => self.unresolved(source, placeholder, status),
            Value::Text(text) if is_env && text.is_empty() => {
                self.unresolved(source, placeholder, Status::Missing)
            }
            Value::Text(text) if placeholder.is_token() && text.trim().is_empty() => {
                self.unresolved(source, placeholder, Status::Missing)
            }
            Value::Text(text) if is_env => {
                self.note(source, Status::Resolved, false);
                self.operator(&text)
            }
            Value::Text(text) => self.value(source, placeholder, &text),
        }
    }

    fn operator(&mut self, text: &str) -> usize {
        self.credential.text(text);
        self.line.operator(text);
        text.len()
    }

    /// Leaves a placeholder as text, unless it would be sent as a credential.
    fn literal(&mut self, source: &'a str, placeholder: &Placeholder, status: Status) -> usize {
        if self.credential.is_expected() {
            return self.unresolved(source, placeholder, status);
        }
        self.note(source, status, false);
        self.operator(source)
    }

    fn value(&mut self, source: &'a str, placeholder: &Placeholder, text: &str) -> usize {
        if let Err(status) = self.line.value(text) {
            return self.unresolved(source, placeholder, status);
        }
        self.note(source, Status::Resolved, false);
        if placeholder.is_token() {
            self.released.insert(placeholder.clone());
        }
        if !text.trim().is_empty() {
            self.credential.text(text);
        } else if self.entry.sink() != Sink::Text || self.entry.place() == Place::Credential {
            self.credential.gap(source, false);
        }
        text.len()
    }

    fn unresolved(&mut self, source: &'a str, placeholder: &Placeholder, status: Status) -> usize {
        let hidden = self.options.user_authored && placeholder.is_token();
        let decision = match self.options.on_unresolved {
            OnUnresolved::Fail => Decision::Fail,
            OnUnresolved::Keep if !hidden => Decision::Return,
            OnUnresolved::Empty => Decision::Return,
            OnUnresolved::Keep | OnUnresolved::Omit => self.omitted(),
        };
        self.decision = self.decision.max(decision);
        self.note(source, status, decision == Decision::Fail);
        if self.options.on_unresolved == OnUnresolved::Keep {
            return self.operator(source);
        }
        self.credential.gap(source, placeholder.is_token());
        self.line.gap();
        0
    }

    /// What leaving the entry out means: a URL cannot be left out, so the call fails.
    fn omitted(&self) -> Decision {
        match self.options.on_unresolved {
            OnUnresolved::Fail => Decision::Fail,
            _ if self.entry.sink() == Sink::Url => Decision::Fail,
            _ => Decision::Omit,
        }
    }

    /// Notes the outcome of a placeholder. Of several, the first that is not `Resolved` counts.
    fn note(&mut self, source: &'a str, status: Status, fails: bool) {
        let at = *self.by_source.entry(source).or_insert(self.notes.len());
        match self.notes.get_mut(at) {
            None => self.notes.push(Note {
                source,
                status,
                fails,
            }),
            Some(known) => {
                known.fails |= fails;
                if known.status == Status::Resolved {
                    known.status = status;
                }
            }
        }
    }

    /// Withholds the finished value.
    fn withhold(&mut self, source: &'a str, status: Status) {
        let decision = self.omitted();
        self.decision = self.decision.max(decision);
        self.note(source, status, decision == Decision::Fail);
    }

    pub(super) fn finish(mut self) -> RenderedEntry {
        if let Some(source) = self
            .credential
            .bare()
            .filter(|_| self.entry.sink() != Sink::Url)
        {
            self.withhold(source, Status::Missing);
        }
        let line = std::mem::replace(&mut self.line, lines::open(Sink::Text, false));
        let text = match self.decision {
            Decision::Return => line
                .finish()
                .map_err(|status| self.withhold("", status))
                .ok(),
            Decision::Omit | Decision::Fail => None,
        };
        self.into_rendered(text)
    }

    fn into_rendered(self, text: Option<String>) -> RenderedEntry {
        let outcome = |note: &Note<'_>| Outcome {
            entry: self.entry.name().to_owned(),
            placeholder: note.source.to_owned(),
            status: note.status,
        };
        RenderedEntry {
            outcomes: self.notes.iter().map(outcome).collect(),
            failed: self
                .notes
                .iter()
                .filter(|note| note.fails)
                .map(outcome)
                .collect(),
            released: if text.is_some() {
                self.released
            } else {
                BTreeSet::new()
            },
            text,
        }
    }
}
