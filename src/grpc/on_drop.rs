//! What is done if an outcome is dropped instead of delivered.

/// Calls a function when it is dropped, unless that was cancelled.
pub(super) struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    pub(super) fn new(act: F) -> Self {
        Self(Some(act))
    }

    pub(super) fn cancel(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_function_is_called_once_and_only_if_it_is_not_cancelled() {
        let calls = Cell::new(0);
        let guard = || OnDrop::new(|| calls.set(calls.get() + 1));
        guard().cancel();
        assert_eq!(calls.get(), 0);
        drop(guard());
        assert_eq!(calls.get(), 1);
    }
}
