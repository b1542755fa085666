//! Reads files again that may change while the service runs. They are polled, because a ConfigMap or
//! a Secret that is mounted changes without telling anybody, and their contents are compared, because
//! it is swapped by a symbolic link and keeps old times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::metrics::{File, Label as _, ReadOutcome, Reloads};
use crate::tasks::Tasks;

/// How often the files are read.
const PERIOD: Duration = Duration::from_secs(10);

/// The background task that reads them.
pub const TASK: &str = "reload";

/// The SHA-256 of what was read.
pub type Digest = [u8; 32];

/// Something that is read again and again, and applied once it has changed.
pub struct Watched {
    file: File,
    look: Box<dyn FnMut() -> Result<ReadOutcome, String> + Send>,
    /// The fault that was logged last, until what is read is good again.
    fault: Option<String>,
}

impl Watched {
    /// What `read` gives is applied at first and whenever its digest differs from what was applied
    /// last. Both say what is wrong without a value; then what was applied stays, and the next poll
    /// tries again.
    pub fn new<T>(
        file: File,
        read: impl Fn() -> Result<(Digest, T), String> + Send + 'static,
        apply: impl Fn(T) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let mut applied = None;
        let look = move || {
            let (digest, value) = read()?;
            if applied == Some(digest) {
                return Ok(ReadOutcome::Unchanged);
            }
            apply(value)?;
            Ok(match applied.replace(digest) {
                Some(_) => ReadOutcome::Changed,
                None => ReadOutcome::Unchanged,
            })
        };
        Self {
            file,
            look: Box::new(look),
            fault: None,
        }
    }

    fn check(&mut self) -> ReadOutcome {
        let name = self.file.value();
        match (self.look)() {
            Ok(outcome) => {
                if outcome == ReadOutcome::Changed {
                    tracing::info!(name, "changed, and was read again");
                } else if self.fault.is_some() {
                    tracing::info!(name, "is again as it was read last");
                }
                self.fault = None;
                outcome
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        name,
                        fault,
                        "cannot be read again; what was read last stays in force"
                    );
                    self.fault = Some(fault);
                }
                ReadOutcome::Failed
            }
        }
    }
}

/// All that is watched. Clones share everything.
#[derive(Clone)]
pub struct Reload(Arc<Shared>);

struct Shared {
    clock: Clock,
    metrics: Arc<Reloads>,
    watched: Mutex<Vec<Watched>>,
    asked: Notify,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Reload {
    /// Watches nothing yet.
    #[must_use]
    pub fn new(clock: Clock, metrics: Arc<Reloads>) -> Self {
        Self(Arc::new(Shared {
            clock,
            metrics,
            watched: Mutex::default(),
            asked: Notify::new(),
        }))
    }

    /// Watches something more. It is read and applied at once, so that every later change is seen as one.
    pub fn add(&self, mut watched: Watched) {
        watched.check();
        self.lock().push(watched);
    }

    /// Reads everything now, and returns when it is applied. It waits for the files.
    pub fn check(&self) {
        let _noted = self.poll();
    }

    /// Reads everything, and returns whether all of it is good.
    fn poll(&self) -> bool {
        let mut is_good = true;
        for watched in self.lock().iter_mut() {
            let outcome = watched.check();
            let now = self.0.clock.now();
            self.0.metrics.note(watched.file, outcome, now);
            is_good &= outcome != ReadOutcome::Failed;
        }
        is_good
    }

    /// Asks [`Reload::run`] to read everything at once.
    pub fn ask(&self) {
        self.0.asked.notify_one();
    }

    /// Reads everything now, then every ten seconds and when it is asked to. It never returns.
    pub async fn run(self, tasks: Tasks) {
        loop {
            let reload = self.clone();
            // A file system may be slow. The panic hook logs a panic, and the next poll tries again.
            if let Ok(true) = spawn_blocking(move || reload.poll()).await {
                tasks.note_success(TASK);
            }
            let _asked_or_due = timeout(PERIOD, self.0.asked.notified()).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.0
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    use super::*;
    use crate::metrics::Metrics;

    fn reload() -> Reload {
        let clock = Clock::system();
        Reload::new(clock.clone(), Arc::clone(&Metrics::new(&clock).reload))
    }

    /// Something whose digest is the first number; 0 cannot be read and 9 cannot be applied.
    fn watched(value: &Arc<AtomicU8>, applied: &Arc<Mutex<Vec<u8>>>) -> Watched {
        let (value, applied) = (Arc::clone(value), Arc::clone(applied));
        let read = move || match value.load(Ordering::SeqCst) {
            0 => Err("cannot be read".to_owned()),
            value => Ok(([value; 32], value)),
        };
        let apply = move |value| {
            if value == 9 {
                return Err("is wrong".to_owned());
            }
            applied.lock().expect("no panic").push(value);
            Ok(())
        };
        Watched::new(File::Callers, read, apply)
    }

    #[test]
    fn what_changed_is_applied_once_and_what_is_wrong_leaves_what_was_there() {
        let (value, applied) = (Arc::new(AtomicU8::new(1)), Arc::default());
        let reload = reload();
        reload.add(watched(&value, &applied));
        for (next, expected) in [
            (1, &[1][..]),
            (1, &[1]),
            (0, &[1]),
            (1, &[1]),
            (9, &[1]),
            (9, &[1]),
            (2, &[1, 2]),
            (2, &[1, 2]),
            (1, &[1, 2, 1]),
        ] {
            value.store(next, Ordering::SeqCst);
            reload.check();
            assert_eq!(*applied.lock().expect("no panic"), expected);
        }
    }

    #[test]
    fn a_fault_is_kept_until_it_is_gone() {
        let (value, applied) = (Arc::new(AtomicU8::new(1)), Arc::default());
        let mut watched = watched(&value, &applied);
        let mut fault_of = |next| {
            value.store(next, Ordering::SeqCst);
            watched.check();
            watched.fault.clone()
        };
        assert_eq!(fault_of(1), None);
        assert_eq!(fault_of(0).as_deref(), Some("cannot be read"));
        assert_eq!(fault_of(9).as_deref(), Some("is wrong"));
        assert_eq!(fault_of(1), None);
    }

    #[tokio::test]
    async fn whoever_asks_does_not_wait_for_the_period() {
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let reload = reload();
        let read = move || Ok(([0; 32], counted.fetch_add(1, Ordering::SeqCst)));
        reload.add(Watched::new(File::Callers, read, |_| Ok(())));
        let clock = Clock::system();
        let tasks = Tasks::new(clock.clone(), Arc::clone(&Metrics::new(&clock).tasks));
        let running = tokio::spawn(reload.clone().run(tasks));
        while reads.load(Ordering::SeqCst) < 3 {
            reload.ask();
            tokio::task::yield_now().await;
        }
        running.abort();
    }
}
