//! One lifecycle for everything that has to end in order.
//!
//! A stop has three steps: [`Tasks::stop`] tells streams and background tasks, which end at once;
//! the server drains the calls in flight; [`Tasks::finished`] waits for the work that outlives its
//! call, such as commits and renewals of provider tokens.
//!
//! A call holds what it occupies (a [`Hold`]) until its work ends. Work that outlives the call goes
//! on holding it: a caller that gives up its calls one after another gets no more work done at once
//! than others.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Either;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::{self, GaugeGuard};
use crate::trace;

/// The pause before a background task that ended is started again. It doubles each time, so that a
/// task that cannot run does not fill the log; a task that ran for [`LONGEST_PAUSE`] begins with
/// [`FIRST_PAUSE`] again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What a call occupies; it is given back when the last clone is dropped.
pub type Hold = Arc<dyn Any + Send + Sync>;

tokio::task_local! {
    static HOLD: Hold;
}

/// Does a call's work. What is spawned meanwhile by [`Tasks::spawn`] holds `hold` until it ends.
pub fn holding<F: Future>(hold: Hold, work: F) -> impl Future<Output = F::Output> {
    HOLD.scope(hold, work)
}

/// Makes work a part of the current call, which goes on as such wherever it runs, and holds what the
/// call occupies until it ends.
pub fn continued<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let work = trace::continued(work);
    match HOLD.try_with(Hold::clone) {
        Ok(hold) => Either::Left(holding(hold, work)),
        Err(_outside_of_a_call) => Either::Right(work),
    }
}

/// The tasks of the service. Clones share everything.
#[derive(Clone, Debug)]
pub struct Tasks {
    clock: Clock,
    metrics: Arc<metrics::Tasks>,
    stopping: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new(clock: Clock, metrics: Arc<metrics::Tasks>) -> Self {
        Self {
            clock,
            metrics,
            stopping: CancellationToken::new(),
            tracker: TaskTracker::new(),
        }
    }

    /// The clock by which tasks run.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Runs work to its end, even if whoever waits for it is cancelled; a stop waits for it. It
    /// goes on as a part of the call that began it.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn(continued(work))
    }

    /// Runs a background task until the stop. If it panics or returns, it is started again after a
    /// pause.
    pub fn keep<F>(&self, name: &'static str, task: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let stopped = tasks.stopping();
            tokio::select! {
                biased;
                () = stopped => {}
                () = tasks.restarting(name, task) => {}
            }
        });
    }

    /// Notes that a background task did all of its work once.
    pub fn note_success(&self, name: &'static str) {
        let now = self.clock.now().secs();
        self.metrics.of(name).last_success.set(now);
    }

    async fn restarting<F: Future<Output = ()>>(&self, name: &'static str, task: impl Fn() -> F) {
        let metrics = self.metrics.of(name);
        let mut pause = FIRST_PAUSE;
        loop {
            let alive = GaugeGuard::new(&metrics.alive);
            let started = self.clock.elapsed();
            // A panic's text may quote a user's, so only the place is logged, by the panic hook.
            let run = AssertUnwindSafe(async { task().await }).catch_unwind();
            let panicked = run.await.is_err();
            drop(alive);
            metrics.restarts.inc();
            if self.clock.elapsed().saturating_sub(started) > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            tracing::error!(
                task = name,
                panicked,
                ?pause,
                "a background task ended and is started again"
            );
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the service was told to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Ready once the service is told to stop.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.stopping.clone().cancelled_owned()
    }

    /// Tells everything that waits for [`Tasks::stopping`].
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Ready once no task runs. Tasks that others begin meanwhile are waited for too.
    pub async fn finished(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::Timestamp;
    use crate::metrics::Metrics;

    fn tasks() -> Tasks {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let metrics = Metrics::new(&clock);
        Tasks::new(clock, metrics.tasks)
    }

    #[tokio::test]
    async fn a_background_task_that_panics_is_started_again_and_ends_with_the_stop() {
        let (tasks, starts) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&starts);
        tasks.keep("test", move || {
            let start = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(start >= 2, "the first two fail");
                std::future::pending::<()>().await;
            }
        });
        while starts.load(Ordering::SeqCst) < 3 {
            sleep(Duration::from_millis(1)).await;
        }
        let metrics = tasks.metrics.of("test");
        assert_eq!((metrics.alive.get(), metrics.restarts.get()), (1, 2));
        tasks.stop();
        tasks.finished().await;
        assert_eq!(metrics.alive.get(), 0);
    }

    #[tokio::test]
    async fn work_that_outlives_its_call_holds_what_the_call_occupied() {
        let (tasks, occupied) = (tasks(), Arc::new(()));
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        let inner = tasks.clone();
        let call = holding(Arc::clone(&occupied) as Hold, async {
            tasks.spawn(async move { inner.spawn(released).await });
        });
        call.await;
        tokio::task::yield_now().await;
        assert!(Arc::strong_count(&occupied) > 1);
        release.send(()).expect("awaited");
        tasks.finished().await;
        assert_eq!(Arc::strong_count(&occupied), 1);
    }

    #[tokio::test]
    async fn work_that_others_begin_is_waited_for() {
        let (tasks, done) = (tasks(), Arc::new(AtomicUsize::new(0)));
        let (inner, counted) = (tasks.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            inner.spawn(async move {
                tokio::task::yield_now().await;
                counted.fetch_add(1, Ordering::SeqCst);
            });
        });
        tasks.finished().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
