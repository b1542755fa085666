//! The text of the metrics, which anybody may ask for at any rate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::metrics::{Format, Metrics};

/// The shortest time between the beginnings of two texts of a format.
const PAUSE: Duration = Duration::from_millis(250);

/// Makes the text. Clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Scrapes(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    clock: Clock,
    prometheus: Mutex<Option<Scrape>>,
    openmetrics: Mutex<Option<Scrape>>,
}

/// A text, and when it was begun.
#[derive(Debug)]
struct Scrape {
    began: Duration,
    text: Arc<str>,
}

impl Scrapes {
    pub(super) fn new(metrics: Metrics, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            metrics,
            clock,
            prometheus: Mutex::default(),
            openmetrics: Mutex::default(),
        }))
    }

    /// All metrics, as they were when this was called or later. Calls that wait at the same time get
    /// the same text.
    pub(super) async fn text(&self, format: Format) -> Arc<str> {
        let shared = &self.0;
        let asked = shared.clock.elapsed();
        let mut last = match format {
            Format::Prometheus => shared.prometheus.lock().await,
            Format::OpenMetrics => shared.openmetrics.lock().await,
        };
        if let Some(scrape) = &*last {
            if scrape.began > asked {
                return Arc::clone(&scrape.text);
            }
            let age = shared.clock.elapsed().saturating_sub(scrape.began);
            sleep(PAUSE.saturating_sub(age)).await;
        }
        let began = shared.clock.elapsed();
        let text: Arc<str> = shared.metrics.text(format).into();
        *last = Some(Scrape {
            began,
            text: Arc::clone(&text),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn requests_at_the_same_time_share_a_text_that_is_not_older_than_they_are() {
        let clock = Clock::system();
        let metrics = Metrics::new(&clock);
        let scrapes = Scrapes::new(metrics.clone(), clock);
        for count in 1..=2 {
            metrics.connections.accepted.inc();
            let counted = format!("countersign_connections_accepted_total {count}");
            let texts = join_all((0..10).map(|_| scrapes.text(Format::Prometheus))).await;
            assert!(
                texts
                    .iter()
                    .all(|text| text.lines().any(|line| line == counted))
            );
            // Only the first request of all needs no pause, in which the others come.
            let shared = texts.iter().skip(usize::from(count == 1));
            assert!(shared.clone().all(|text| Arc::ptr_eq(text, &texts[9])));
        }
        let other = scrapes.text(Format::OpenMetrics).await;
        assert!(other.ends_with("# EOF\n"));
    }
}
