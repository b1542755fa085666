//! A closed loop: a number of workers, each of which sends its next request as soon as it has its
//! answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::Result;

/// The largest latency that is recorded: a minute, in microseconds.
const LONGEST: u64 = 60_000_000;

/// What one round measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Requests per second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99: f64,
    /// CPU time of the server per request in microseconds.
    pub cpu: f64,
}

/// One of the workers of a loop.
pub trait Worker: Send + 'static {
    /// Sends one request; `false` if there is nothing more to send.
    fn ask(&mut self) -> impl Future<Output = Result<bool>> + Send;
}

/// Lets the workers run for a while and returns them; `cpu` reads the server's CPU time.
pub async fn run<W: Worker>(
    workers: Vec<W>,
    time: Duration,
    cpu: impl Fn() -> Result<Duration>,
) -> Result<(Figures, Vec<W>)> {
    let latencies = Arc::new(Mutex::new(Histogram::new_with_max(LONGEST, 3)?));
    let (cpu_before, start) = (cpu()?, Instant::now());
    let mut loops = JoinSet::new();
    for worker in workers {
        loops.spawn(ask_until(worker, start + time, Arc::clone(&latencies)));
    }
    let workers = loops.join_all().await.into_iter().collect::<Result<_>>()?;
    let (seconds, cpu) = (
        start.elapsed().as_secs_f64(),
        cpu()?.saturating_sub(cpu_before),
    );
    let latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((figures(&latencies, seconds, cpu), workers))
}

async fn ask_until<W: Worker>(
    mut worker: W,
    end: Instant,
    latencies: Arc<Mutex<Histogram<u64>>>,
) -> Result<W> {
    loop {
        let asked = Instant::now();
        if asked >= end || !worker.ask().await? {
            return Ok(worker);
        }
        let micros = u64::try_from(asked.elapsed().as_micros())?;
        latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_record(micros);
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]
fn figures(latencies: &Histogram<u64>, seconds: f64, cpu: Duration) -> Figures {
    let count = latencies.len() as f64;
    Figures {
        rate: count / seconds,
        p50: latencies.value_at_quantile(0.5) as f64,
        p99: latencies.value_at_quantile(0.99) as f64,
        cpu: cpu.as_secs_f64() * 1e6 / count,
    }
}
