//! Work that goes on where its caller has gone, counted so that a stop can wait for it.

use std::sync::Arc;

use tokio::sync::watch;

/// How much of it there is. Clones count together.
#[derive(Clone, Debug)]
pub struct Unfinished(Arc<watch::Sender<usize>>);

/// One piece of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(Unfinished);

impl Default for Unfinished {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Unfinished {
    pub(super) fn enter(&self) -> Place {
        self.0.send_modify(|count| *count += 1);
        Place(self.clone())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Ready once there is none.
    pub async fn ended(&self) {
        // The sender is here, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stop_waits_until_the_last_piece_has_ended() {
        let unfinished = Unfinished::default();
        assert!(unfinished.ended().now_or_never().is_some());
        let (first, second) = (unfinished.enter(), unfinished.clone().enter());
        let ended = unfinished.ended();
        tokio::pin!(ended);
        drop(first);
        assert!(ended.as_mut().now_or_never().is_none() && !unfinished.is_none());
        drop(second);
        ended.await;
        assert!(unfinished.is_none());
    }
}
