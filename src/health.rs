//! What of the service is in order. Probes and `grpc.health.v1` tell it.

use std::sync::Arc;

use tokio::sync::watch;

/// What has to be in order before the service is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The store answers.
    Store,
    /// The keys are those that the data was written with.
    Keys,
    /// The tables are those of this version.
    Migrations,
    /// The service is started.
    Start,
}

impl Part {
    const ALL: [Self; 4] = [Self::Store, Self::Keys, Self::Migrations, Self::Start];

    const fn missing(self) -> &'static str {
        match self {
            Self::Store => "store: does not answer",
            Self::Keys => "keys: not checked yet",
            Self::Migrations => "migrations: not done yet",
            Self::Start => "service: not started yet",
        }
    }
}

/// What is in order at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    done: [bool; Part::ALL.len()],
    verifies: bool,
    stopping: bool,
}

impl State {
    /// Whether the service started, whatever happened since.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        self.done[Part::Start as usize]
    }

    /// Whether calls can be answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing().next().is_none()
    }

    /// Whether VerifyToken can be answered, from memory if the store does not answer.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.is_started() && self.verifies && !self.stopping
    }

    /// What keeps the service from being ready, in words for an administrator.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        let done = self.done;
        let parts = Part::ALL.into_iter();
        let missing = parts.filter(move |part| !done[*part as usize]);
        let stopping = self.stopping.then_some("service: stopping");
        missing.map(Part::missing).chain(stopping)
    }
}

/// The state of the service. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<State>>);

impl Health {
    /// The health of a service that starts now: nothing is in order yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// The state as it is now.
    #[must_use]
    pub fn state(&self) -> State {
        *self.0.borrow()
    }

    /// The state and its changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    /// Notes that a part is in order.
    pub fn complete(&self, part: Part) {
        self.change(|state| state.done[part as usize] = true);
    }

    /// Notes whether the store answers, and whether VerifyToken can be answered with what is in
    /// memory otherwise.
    pub fn note_store(&self, answers: bool, verifies: bool) {
        self.change(|state| {
            state.done[Part::Store as usize] = answers;
            state.verifies = verifies;
        });
    }

    /// Notes that the service stops.
    pub fn stop(&self) {
        self.change(|state| state.stopping = true);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            let before = *state;
            change(state);
            *state != before
        });
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_once_all_is_in_order_and_until_it_stops() {
        let health = Health::new();
        assert_eq!(health.state().missing().count(), 4);
        for part in Part::ALL {
            assert!(!health.state().is_ready());
            health.complete(part);
        }
        assert!(health.state().is_ready() && health.state().is_started());
        health.note_store(false, true);
        let missing: Vec<_> = health.state().missing().collect();
        assert_eq!(missing, ["store: does not answer"]);
        assert!(health.state().verifies() && health.state().is_started());
        health.note_store(true, true);
        assert!(health.state().is_ready());
        health.stop();
        assert!(!health.state().is_ready() && !health.state().verifies());
        assert!(health.state().is_started());
    }

    #[test]
    fn what_changes_nothing_is_no_change() {
        let health = Health::new();
        let mut changes = health.subscribe();
        health.note_store(true, true);
        assert!(changes.has_changed().expect("alive"));
        changes.mark_unchanged();
        health.note_store(true, true);
        assert!(!changes.has_changed().expect("alive"));
    }
}
