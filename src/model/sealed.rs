//! Rows with sealed values, which are sealed anew when the root key changes.

use std::fmt;

use crate::secret::OpenError;

/// What became of some rows in the order of their keys.
#[derive(Debug)]
pub struct Resealing<K> {
    /// The key of the last of them; `None` if there were none.
    pub last: Option<K>,
    pub tally: Tally,
    /// Those that stay as they are, because they cannot be opened.
    pub refused: Vec<Refused>,
}

/// How many rows were looked at, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    /// They were sealed anew.
    pub resealed: u64,
    /// They may be replaced at any moment by somebody who expects them as they are.
    pub in_use: u64,
}

/// A row that cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub table: &'static str,
    pub key: String,
    pub why: String,
}

/// What is to be done with a row.
#[derive(Debug)]
pub enum Verdict<N> {
    /// The key that seals today sealed it.
    Current,
    /// To be replaced by this.
    Replace(N),
    /// To be looked at again later.
    InUse,
    /// It cannot be opened.
    Refused(String),
}

impl<N> Verdict<N> {
    /// From what [`crate::secret::Keyring::reseal`] returns.
    pub fn of(resealed: Result<Option<N>, OpenError>) -> Self {
        match resealed {
            Ok(Some(new)) => Self::Replace(new),
            Ok(None) => Self::Current,
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// A row, and what it is to be replaced by if nobody replaced it since it was read.
#[derive(Debug)]
pub struct Replacement<K, R, N> {
    pub key: K,
    pub read: R,
    pub new: N,
}

impl<K: Clone + fmt::Display> Resealing<K> {
    /// Judges rows of a table, and lists those that are to be replaced.
    pub fn of<R, N>(
        table: &'static str,
        rows: Vec<(K, R)>,
        mut judge: impl FnMut(&K, &R) -> Verdict<N>,
    ) -> (Self, Vec<Replacement<K, R, N>>) {
        let mut done = Self {
            last: rows.last().map(|(key, _)| key.clone()),
            tally: Tally {
                rows: rows.len() as u64,
                ..Tally::default()
            },
            refused: Vec::new(),
        };
        let mut replacements = Vec::new();
        for (key, read) in rows {
            match judge(&key, &read) {
                Verdict::Current => {}
                Verdict::Replace(new) => replacements.push(Replacement { key, read, new }),
                Verdict::InUse => done.tally.in_use += 1,
                Verdict::Refused(why) => done.refused.push(Refused {
                    table,
                    key: key.to_string(),
                    why,
                }),
            }
        }
        (done, replacements)
    }

    /// So many of the replacements were made; the other rows changed in the meantime.
    #[must_use]
    pub fn replaced(mut self, rows: u64) -> Self {
        self.tally.resealed = rows;
        self
    }
}

impl Tally {
    /// Adds what became of further rows.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.resealed += other.resealed;
        self.in_use += other.in_use;
    }
}
