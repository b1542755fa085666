//! The keys that verify JWTs of callers: those of a file, or those that an issuer publishes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::key_source::{KeySource, KeyUrl};
use crate::clock::Clock;
use crate::config;
use crate::error::{Cause, Error};
use crate::http::{Cached, json_body, json_request};
use crate::jose::CallerKeys;
use crate::metrics::{self, CallerTokenRefusal, KeyFetch};
use crate::repeats::Repeats;
use crate::secret::SecretString;

/// How long keys are used before they are fetched again.
const FRESH: Duration = Duration::from_mins(10);
/// The shortest time between two fetches, so that tokens with unknown keys do not cause a fetch each.
const PAUSE: Duration = Duration::from_secs(30);
/// If the issuer was not asked for so long, a call waits until it is: it may have withdrawn a key.
const UNASKED: Duration = Duration::from_mins(20);
/// How long a call waits for a fetch.
const WAIT: Duration = Duration::from_secs(2);
/// How many calls may wait for the keys of one issuer: nobody knows yet whether they are of callers.
const MAX_WAITING: usize = 256;

/// The keys of an issuer.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    File(Arc<CallerKeys>),
    Url(Arc<Fetched>),
}

/// Keys that an issuer publishes. They are fetched by a task in the background when a call needs
/// them, so that a call is not held up by an issuer that does not answer, unless that has never answered,
/// has a new key, or was not asked for long.
pub(super) struct Fetched {
    source: KeyUrl,
    clock: Clock,
    keys: Cached<CallerKeys>,
    /// Whether the task runs.
    fetching: AtomicBool,
    /// When it last ended, or had kept a call waiting in vain.
    asked: watch::Sender<Option<Duration>>,
    waiting: Arc<Semaphore>,
    /// Whether the last request failed.
    has_failed: AtomicBool,
    metrics: Arc<metrics::Callers>,
    failures: Repeats<()>,
}

/// The wait for keys that are being fetched.
#[derive(Debug)]
pub struct Wait {
    fetched: Arc<Fetched>,
    seen: Option<Arc<CallerKeys>>,
    asked: watch::Receiver<Option<Duration>>,
    _place: OwnedSemaphorePermit,
}

/// The keys that there are.
pub(super) struct Held {
    pub(super) keys: Arc<CallerKeys>,
    /// Whether the issuer was not asked for long.
    pub(super) is_unasked: bool,
}

/// What there is to do without the key of a token.
pub(super) enum Newer {
    /// To wait for newer keys.
    Wait(Wait),
    /// Nothing: these are the newest.
    Newest,
    /// To try again later: the issuer did not answer a moment ago.
    Failed,
    /// To try again later: too many calls wait already.
    Crowded,
}

impl Keys {
    /// The keys of a source. `known` are those of the sources before, whose keys go on being used.
    pub(super) fn new(
        source: &KeySource,
        known: &[Arc<Fetched>],
        clock: &Clock,
        metrics: &Arc<metrics::Callers>,
    ) -> Self {
        match source {
            KeySource::File(keys) => Self::File(Arc::new(keys.clone())),
            KeySource::Url(url) => {
                let same = known.iter().find(|fetched| fetched.source == *url);
                let fetched = same.map(Arc::clone);
                Self::Url(fetched.unwrap_or_else(|| Fetched::new(url, clock, metrics)))
            }
        }
    }

    /// The keys that there are. If they are old, newer ones are fetched meanwhile.
    pub(super) fn known(&self) -> Option<Held> {
        let fetched = match self {
            Self::File(keys) => {
                return Some(Held {
                    keys: Arc::clone(keys),
                    is_unasked: false,
                });
            }
            Self::Url(fetched) => fetched,
        };
        let (keys, is_fresh) = fetched.keys.known()?;
        let is_unasked = fetched.is_unasked();
        if !is_fresh && fetched.keys.is_due() {
            fetched.fetch(Some(Arc::clone(&keys)));
        }
        Some(Held { keys, is_unasked })
    }

    /// Whether newer keys than these are to be had.
    pub(super) fn newer(&self, seen: Option<&Arc<CallerKeys>>) -> Newer {
        let Self::Url(fetched) = self else {
            return Newer::Newest;
        };
        if !fetched.keys.is_due() {
            let has_failed = fetched.has_failed.load(Ordering::Acquire);
            return if has_failed {
                Newer::Failed
            } else {
                Newer::Newest
            };
        }
        let Ok(place) = Arc::clone(&fetched.waiting).try_acquire_owned() else {
            return Newer::Crowded;
        };
        Newer::Wait(Wait {
            asked: fetched.asked.subscribe(),
            fetched: Arc::clone(fetched),
            seen: seen.cloned(),
            _place: place,
        })
    }
}

impl Wait {
    /// The error of a call that has waited already: the fetch is still under way.
    #[must_use]
    pub fn in_vain(self) -> Error {
        self.fetched.metrics.refused(CallerTokenRefusal::NoKeys);
        Error::CallerKeysUnavailable("the fetch of the keys takes too long".into())
    }

    /// Waits until the keys were fetched, or for two seconds.
    pub async fn done(mut self) {
        self.fetched.fetch(self.seen);
        if timeout(WAIT, self.asked.changed()).await.is_err() {
            // From now on the last keys count, as they do when a fetch fails.
            self.fetched.note_asked();
        }
    }
}

impl Fetched {
    fn new(source: &KeyUrl, clock: &Clock, metrics: &Arc<metrics::Callers>) -> Arc<Self> {
        Arc::new(Self {
            source: source.clone(),
            clock: clock.clone(),
            keys: Cached::new(clock.clone(), FRESH, PAUSE),
            fetching: AtomicBool::new(false),
            asked: watch::Sender::new(None),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            has_failed: AtomicBool::new(false),
            metrics: Arc::clone(metrics),
            failures: Repeats::new(clock.clone()),
        })
    }

    fn is_unasked(&self) -> bool {
        let asked = *self.asked.borrow();
        asked.is_none_or(|at| self.clock.elapsed().saturating_sub(at) > UNASKED)
    }

    fn note_asked(&self) {
        self.asked.send_replace(Some(self.clock.elapsed()));
    }

    /// Fetches newer keys than these in the background, unless that is under way.
    fn fetch(self: &Arc<Self>, seen: Option<Arc<CallerKeys>>) {
        if self.fetching.swap(true, Ordering::AcqRel) {
            return;
        }
        let running = Running(Arc::clone(self));
        tokio::spawn(async move {
            let this = &running.0;
            // The keys that there are count even if this fails.
            let _keys = match &seen {
                Some(_) => this.keys.renew(seen.as_ref(), this.request()).await,
                None => this.keys.get(this.request()).await,
            };
        });
    }

    async fn request(&self) -> Result<CallerKeys, Cause> {
        let answer = self.exchange().await;
        self.has_failed.store(answer.is_err(), Ordering::Release);
        match &answer {
            Ok(_) => self.metrics.fetched(KeyFetch::Ok),
            Err(cause) => {
                self.metrics.fetched(KeyFetch::Failed);
                if let Some((_, unlogged)) = self.failures.due(Some(())) {
                    let url = self.source.url.as_str();
                    tracing::warn!(
                        url, %cause, unlogged,
                        "keys that verify callers' tokens could not be fetched"
                    );
                }
            }
        }
        answer
    }

    async fn exchange(&self) -> Result<CallerKeys, Cause> {
        let token = match self.source.token_file.clone() {
            Some(path) => Some(spawn_blocking(move || read_token(&path)).await??),
            None => None,
        };
        let request = json_request(&self.source.url, token.as_ref())?;
        let body = json_body(self.source.client.send(request).await?)?;
        CallerKeys::parse(&body).ok_or("the answer is not a JWK set of at most 100 keys".into())
    }
}

fn read_token(path: &Path) -> Result<SecretString, Cause> {
    let text = config::read_text(path);
    let text = text.map_err(|error| format!("the token_file cannot be read: {error}"))?;
    Ok(SecretString::from(text.trim().to_owned()))
}

/// The task that fetches keys, until it is dropped.
struct Running(Arc<Fetched>);

impl Drop for Running {
    fn drop(&mut self) {
        // In this order: who finds no task running starts one, and who finds one running is told of
        // its end.
        self.0.fetching.store(false, Ordering::Release);
        self.0.note_asked();
    }
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").finish_non_exhaustive()
    }
}
