//! Pages of a list (AIP-158).

use crate::clock::Timestamp;

/// The position of an item in a list that is sorted by time and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub time: Timestamp,
    pub id: String,
}

/// Which page of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; never zero.
    pub size: usize,
    /// The last item of the page before; `None` for the first page.
    pub after: Option<Cursor>,
}

/// Some items of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The position of the last item, if more items follow it.
    pub next: Option<Cursor>,
}

/// An item that knows its position in its list.
pub trait Positioned {
    /// Its position.
    fn cursor(&self) -> Cursor;
}

impl PageRequest {
    /// The first page, for tests.
    #[cfg(test)]
    pub fn first(size: usize) -> Self {
        Self { size, after: None }
    }

    /// How many items to read: one more than asked for shows whether others follow.
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// The position after which an ascending list goes on.
    pub fn ascending(&self) -> (i64, &str) {
        self.position(i64::MIN)
    }

    /// The position before which a descending list goes on.
    pub fn descending(&self) -> (i64, &str) {
        self.position(i64::MAX)
    }

    fn position(&self, start: i64) -> (i64, &str) {
        self.after
            .as_ref()
            .map_or((start, ""), |after| (after.time.millis(), &after.id))
    }
}

impl<T: Positioned> Page<T> {
    /// The page of a request, from at most [`PageRequest::limit`] items that follow its position.
    pub fn new(mut items: Vec<T>, request: &PageRequest) -> Self {
        let more = items.len() > request.size;
        items.truncate(request.size);
        let next = items.last().filter(|_| more).map(Positioned::cursor);
        Self { items, next }
    }
}
