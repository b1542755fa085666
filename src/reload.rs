//! Reads files again that may change while the service runs. They are polled, because a ConfigMap or
//! a Secret that is mounted changes without telling anybody, and their contents are compared, because
//! it is swapped by a symbolic link and keeps old times.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, Notify};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::metrics::{File, Label as _, ReadOutcome, Reloads};
use crate::tasks::Tasks;

/// How often the files are read.
const PERIOD: Duration = Duration::from_secs(10);
/// How long it may take to read one and to apply it. Reading from a file system that is gone may
/// never end.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The background task that reads them.
pub const TASK: &str = "reload";

/// The SHA-256 of what was read.
pub type Digest = [u8; 32];

type Outcome = Result<ReadOutcome, String>;

/// Something that is read again and again, and applied if it has changed.
pub struct Watched {
    file: File,
    look: Arc<std::sync::Mutex<dyn FnMut() -> Outcome + Send>>,
    /// A look that has not ended yet. It occupies a thread, so no other is begun meanwhile.
    looking: Option<JoinHandle<Outcome>>,
    /// The fault that was logged last, until what is read is good again.
    fault: Option<String>,
}

impl Watched {
    /// What `read` gives is applied if its digest differs from that of what was applied last, at
    /// first the digest `applied`. Both say what is wrong without a value; then what was applied stays
    /// in force, and the next poll tries again.
    pub fn new<T>(
        file: File,
        mut applied: Digest,
        read: impl Fn() -> Result<(Digest, T), String> + Send + 'static,
        apply: impl Fn(T) -> Result<(), String> + Send + 'static,
    ) -> Self {
        let look = move || {
            let (digest, value) = read()?;
            if applied == digest {
                return Ok(ReadOutcome::Unchanged);
            }
            apply(value)?;
            applied = digest;
            Ok(ReadOutcome::Changed)
        };
        Self {
            file,
            look: Arc::new(std::sync::Mutex::new(look)),
            looking: None,
            fault: None,
        }
    }

    async fn check(&mut self) -> ReadOutcome {
        let outcome = self.look().await;
        self.log(outcome)
    }

    async fn look(&mut self) -> Outcome {
        let look = &self.look;
        let looking = self.looking.get_or_insert_with(|| {
            let look = Arc::clone(look);
            spawn_blocking(move || {
                let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
                look()
            })
        });
        let Ok(ended) = timeout(READ_WITHIN, looking).await else {
            let seconds = READ_WITHIN.as_secs();
            return Err(format!("could not be read within {seconds} seconds"));
        };
        self.looking = None;
        ended.unwrap_or_else(|_panic| Err("caused a panic".to_owned()))
    }

    fn log(&mut self, outcome: Outcome) -> ReadOutcome {
        let name = self.file.value();
        match outcome {
            Ok(outcome) => {
                if outcome == ReadOutcome::Changed {
                    tracing::info!(name, "changed, and was read again");
                } else if self.fault.is_some() {
                    tracing::info!(name, "is good again, and has not changed");
                }
                self.fault = None;
                outcome
            }
            Err(fault) => {
                if self.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        name,
                        fault,
                        "is wrong or cannot be read; what was read before stays in force"
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
    /// Reads these again, and what is added later.
    #[must_use]
    pub fn new(watched: Vec<Watched>, clock: Clock, metrics: Arc<Reloads>) -> Self {
        Self(Arc::new(Shared {
            clock,
            metrics,
            watched: Mutex::new(watched),
            asked: Notify::new(),
        }))
    }

    /// Watches something more.
    pub async fn add(&self, watched: Watched) {
        self.0.watched.lock().await.push(watched);
    }

    /// Reads everything now, and returns whether all of it is good once it is applied. Each file is
    /// read on its own, so that one that hangs or causes a panic does not keep others from being read.
    pub async fn check(&self) -> bool {
        let mut watched = self.0.watched.lock().await;
        let checks = watched.iter_mut().map(async |watched| {
            let outcome = watched.check().await;
            let now = self.0.clock.now();
            self.0.metrics.note(watched.file, outcome, now);
            outcome != ReadOutcome::Failed
        });
        join_all(checks).await.into_iter().all(|is_good| is_good)
    }

    /// Asks [`Reload::run`] to read everything at once.
    pub fn ask(&self) {
        self.0.asked.notify_one();
    }

    /// Reads everything now, then every ten seconds and when it is asked to. It never returns.
    pub async fn run(self, tasks: Tasks) {
        loop {
            if self.check().await {
                tasks.note_success(TASK);
            }
            let _asked_or_due = timeout(PERIOD, self.0.asked.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;
    use crate::metrics::{Format, Metrics};

    fn reload(watched: Vec<Watched>) -> Reload {
        let clock = Clock::system();
        Reload::new(
            watched,
            clock.clone(),
            Arc::clone(&Metrics::new(&clock).reload),
        )
    }

    /// Runs it in the background.
    fn run(reload: &Reload) -> JoinHandle<()> {
        let clock = Clock::system();
        let tasks = Tasks::new(clock.clone(), Arc::clone(&Metrics::new(&clock).tasks));
        tokio::spawn(reload.clone().run(tasks))
    }

    #[derive(Clone, Default)]
    struct Applied(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Applied {
        fn all(&self) -> Vec<u8> {
            self.0.lock().expect("no panic").clone()
        }
    }

    /// Something whose digest is the first number, at first 1; 0 cannot be read, 8 causes a panic and
    /// 9 cannot be applied.
    fn watched(value: &Arc<AtomicU8>, applied: &Applied) -> Watched {
        let (value, applied) = (Arc::clone(value), applied.clone());
        let read = move || match value.load(Ordering::SeqCst) {
            0 => Err("cannot be read".to_owned()),
            value => Ok(([value; 32], value)),
        };
        let apply = move |value| {
            assert!(value != 8, "as asked");
            if value == 9 {
                return Err("is wrong".to_owned());
            }
            applied.0.lock().expect("no panic").push(value);
            Ok(())
        };
        Watched::new(File::Callers, [1; 32], read, apply)
    }

    /// Something that is read, and counts how often.
    fn counted(reads: &Arc<AtomicUsize>) -> Watched {
        let reads = Arc::clone(reads);
        let read = move || Ok(([0; 32], reads.fetch_add(1, Ordering::SeqCst)));
        Watched::new(File::LogFilter, [0; 32], read, |_| Ok(()))
    }

    #[tokio::test]
    async fn what_changed_is_applied_once_and_what_is_wrong_leaves_what_was_there() {
        let (value, applied) = (Arc::new(AtomicU8::new(1)), Applied::default());
        let reload = reload(vec![watched(&value, &applied)]);
        for (next, expected) in [
            (1, &[][..]),
            (0, &[]),
            (1, &[]),
            (9, &[]),
            (9, &[]),
            (2, &[2]),
            (2, &[2]),
            (8, &[2]),
            (2, &[2]),
            (1, &[2, 1]),
        ] {
            value.store(next, Ordering::SeqCst);
            assert_eq!(reload.check().await, ![0, 8, 9].contains(&next));
            assert_eq!(applied.all(), expected);
        }
    }

    #[tokio::test]
    async fn a_fault_is_kept_until_it_is_gone() {
        let (value, applied) = (Arc::new(AtomicU8::new(1)), Applied::default());
        let mut watched = watched(&value, &applied);
        for (next, fault) in [
            (1, None),
            (0, Some("cannot be read")),
            (9, Some("is wrong")),
            (8, Some("caused a panic")),
            (1, None),
        ] {
            value.store(next, Ordering::SeqCst);
            watched.check().await;
            assert_eq!(watched.fault.as_deref(), fault);
        }
    }

    #[tokio::test]
    async fn a_file_that_causes_a_panic_keeps_no_other_from_being_read() {
        let (reads, applied) = (Arc::default(), Applied::default());
        let wrong = watched(&Arc::new(AtomicU8::new(8)), &applied);
        let reload = reload(vec![wrong, counted(&reads)]);
        assert!(!reload.check().await);
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_never_ends_is_a_fault_and_keeps_no_other_file_from_being_read() {
        let (begun, released) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let (counted_begun, barrier) = (Arc::clone(&begun), Arc::clone(&released));
        let read = move || {
            counted_begun.fetch_add(1, Ordering::SeqCst);
            barrier.wait();
            Ok(([2; 32], ()))
        };
        let hanging = Watched::new(File::Callers, [1; 32], read, |()| Ok(()));
        let metrics = Metrics::new(&Clock::system());
        let is_noted = |file, outcome, count| {
            let labels = format!("{{file=\"{file}\",outcome=\"{outcome}\"}}");
            let sample = format!("countersign_reload_reads_total{labels} {count}\n");
            metrics.text(Format::Prometheus).contains(&sample)
        };
        let watched = vec![hanging, counted(&Arc::default())];
        let reload = Reload::new(watched, Clock::system(), Arc::clone(&metrics.reload));
        for round in 1..=3 {
            let checked = reload.clone();
            let checking = tokio::spawn(async move { checked.check().await });
            while !is_noted("log_filter", "unchanged", round) {
                tokio::task::yield_now().await;
            }
            // While a thread reads, the time does not go on by itself.
            advance(2 * READ_WITHIN).await;
            assert!(!checking.await.expect("no panic"));
            assert!(is_noted("callers", "failed", round));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1, "only one thread waits");
        released.wait();
        assert!(reload.check().await, "the read has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_at_once_and_then_every_ten_seconds() {
        let (value, applied) = (Arc::new(AtomicU8::new(2)), Applied::default());
        let running = run(&reload(vec![watched(&value, &applied)]));
        let begin = tokio::time::Instant::now();
        for (next, seconds) in [(3, 0), (4, 10), (5, 20)] {
            while applied.all().last() != Some(&(next - 1)) {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(begin.elapsed().as_secs(), seconds);
            value.store(next, Ordering::SeqCst);
        }
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_does_not_wait_for_the_period() {
        let reads = Arc::default();
        let reload = reload(vec![counted(&reads)]);
        let running = run(&reload);
        let begin = tokio::time::Instant::now();
        while reads.load(Ordering::SeqCst) < 3 {
            reload.ask();
            sleep(Duration::from_millis(1)).await;
        }
        assert!(begin.elapsed() < PERIOD);
        running.abort();
    }
}
