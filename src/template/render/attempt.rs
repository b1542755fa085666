//! One entry under construction.

use std::collections::{BTreeSet, HashMap};

use super::credential::Credential;
use crate::template::batch::{Entry, Permit};
use crate::template::lines;
use crate::template::outcome::{Outcome, ResolveOptions};
use crate::template::parser::Segment;
use crate::template::sink::Line;
use crate::template::values::{Value, Values};
use crate::template::vocabulary::{OnUnresolved, Placeholder, Sink, Status};

/// What happens to the entry under construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Leaves,
    Dropped,
    Fails,
}

struct Note<'a> {
    source: &'a str,
    status: Status,
    fails: bool,
}

/// One entry under construction.
pub(super) struct Attempt<'a> {
    entry: &'a Entry,
    options: ResolveOptions,
    line: Box<dyn Line>,
    fate: Fate,
    notes: Vec<Note<'a>>,
    by_source: HashMap<&'a str, usize>,
    released: BTreeSet<Placeholder>,
    credential: Credential<'a>,
}

pub(super) struct End {
    pub(super) text: Option<String>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) failed: Vec<Outcome>,
    pub(super) released: BTreeSet<Placeholder>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(entry: &'a Entry, options: ResolveOptions) -> Self {
        Self {
            entry,
            options,
            line: lines::open(entry.sink(), options.user_authored),
            fate: Fate::Leaves,
            notes: Vec::new(),
            by_source: HashMap::new(),
            released: BTreeSet::new(),
            credential: Credential::of(entry),
        }
    }

    /// Writes one piece and gives the bytes that it took.
    pub(super) fn write(&mut self, segment: &'a Segment, values: &impl Values) -> usize {
        match segment {
            Segment::Text(text) => self.operator(text),
            Segment::Placeholder {
                source,
                placeholder,
            } => match self.entry.permit(placeholder, self.options.user_authored) {
                Permit::Literal(status) => self.literal(source, status),
                Permit::Refuse(status) => self.unresolved(source, placeholder, status),
                Permit::Ask => self.answer(source, placeholder, values.value(placeholder)),
            },
        }
    }

    fn answer(&mut self, source: &'a str, placeholder: &Placeholder, value: Value<'_>) -> usize {
        let is_env = matches!(placeholder, Placeholder::Env(_));
        match value {
            Value::Unresolved(status @ Status::UnknownName)
                if matches!(placeholder, Placeholder::Custom(_)) =>
            {
                self.literal(source, status)
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

    fn literal(&mut self, source: &'a str, status: Status) -> usize {
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
        } else if self.entry.sink() != Sink::Text {
            self.credential.gap(source, false);
        }
        text.len()
    }

    fn unresolved(&mut self, source: &'a str, placeholder: &Placeholder, status: Status) -> usize {
        let hidden = self.options.user_authored && placeholder.is_token();
        let fate = match self.options.on_unresolved {
            OnUnresolved::Fail => Fate::Fails,
            OnUnresolved::Keep if !hidden => Fate::Leaves,
            OnUnresolved::Empty => Fate::Leaves,
            OnUnresolved::Keep | OnUnresolved::Omit => self.dropped(),
        };
        self.fate = self.fate.max(fate);
        self.note(source, status, fate == Fate::Fails);
        if self.options.on_unresolved == OnUnresolved::Keep {
            return self.operator(source);
        }
        self.credential.gap(source, placeholder.is_token());
        0
    }

    /// What dropping means here: a URL cannot be left out.
    fn dropped(&self) -> Fate {
        match self.options.on_unresolved {
            OnUnresolved::Fail => Fate::Fails,
            _ if self.entry.sink() == Sink::Url => Fate::Fails,
            _ => Fate::Dropped,
        }
    }

    /// Notes an outcome, one per placeholder: the first that is not `Resolved`.
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

    fn end(&mut self, source: &'a str, status: Status) {
        let fate = self.dropped();
        self.fate = self.fate.max(fate);
        self.note(source, status, fate == Fate::Fails);
    }

    pub(super) fn finish(mut self) -> End {
        if let Some(source) = self
            .credential
            .bare()
            .filter(|_| self.entry.sink() != Sink::Url)
        {
            self.end(source, Status::Missing);
        }
        let line = std::mem::replace(&mut self.line, lines::open(Sink::Text, false));
        let text = match self.fate {
            Fate::Leaves => line.finish().map_err(|status| self.end("", status)).ok(),
            Fate::Dropped | Fate::Fails => None,
        };
        self.into_end(text)
    }

    fn into_end(self, text: Option<String>) -> End {
        let outcome = |note: &Note<'_>| Outcome {
            entry: self.entry.name().to_owned(),
            placeholder: note.source.to_owned(),
            status: note.status,
        };
        End {
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
