//! Tells backends what revokes tokens, so that they can verify tokens themselves, or keep answers of
//! VerifyToken, without missing a revocation.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Interval, MissedTickBehavior, Sleep, interval, sleep};

use super::Tokens;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::Feed;
use crate::id::{BanId, SessionId, UserId};
use crate::metrics::GaugeGuard;
use crate::model::ban::Ban;
use crate::model::change::{Change, Numbered};
use crate::model::page::{Cursor as PageCursor, PageRequest};
use crate::model::signing_key::{SealedSigningKey, SigningKeyState};
use crate::store::{Head, Store};

/// How often a watcher is told that it has missed nothing, if nothing else is told.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A watch ends after this time, so that a caller that is no longer one does not watch for ever.
const LASTS: Duration = Duration::from_mins(10);
/// How much of a snapshot is read at once.
const BATCH: usize = 500;

/// Something that a watcher is told.
#[derive(Debug)]
pub struct Event {
    /// From where to watch on after this event; `None` within a snapshot.
    pub cursor: Option<Head>,
    pub news: News,
}

/// What a watcher is told.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// All that was committed before the watch and still matters was told.
    SnapshotEnd,
    /// All that was committed up to a second ago was told.
    Heartbeat,
    SessionRevoked(SessionId),
    /// The user's sessions with tokens issued before this time were ended, except one.
    UserNotBefore {
        user: UserId,
        not_before: Timestamp,
        except: Option<SessionId>,
    },
    UserChanged(UserId),
    Banned(Box<Ban>),
    BanLifted(BanId),
    /// No token of the key with this `kid` counts.
    KeyRevoked(String),
    /// Something that this version does not know.
    Unknown,
}

/// One watch of revocations.
pub struct Watch {
    store: Store,
    feed: Feed,
    position: watch::Receiver<Head>,
    phase: Phase,
    at: Head,
    now: Timestamp,
    events: VecDeque<Event>,
    _place: OwnedSemaphorePermit,
    /// The turn of a snapshot, until its end.
    snapshot: Option<OwnedSemaphorePermit>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    heartbeats: Interval,
    end: Pin<Box<Sleep>>,
    _watchers: GaugeGuard,
}

/// What is told next.
#[derive(Clone)]
enum Phase {
    /// The keys that were revoked.
    Keys,
    /// The bans in force, after this one.
    Bans(Option<PageCursor>),
    /// The changes in the feed, after the one with this number.
    Changes(i64),
    /// What comes in.
    News,
}

impl Tokens {
    /// Watches from a cursor on, or tells first all that still matters. The watch ends with an error
    /// once `stopping` is ready.
    ///
    /// # Errors
    /// [`Error::CursorExpired`] if the cursor is of another epoch or from the future, [`Error::Busy`] if
    /// there are too many watches, and the store's errors.
    pub async fn watch(
        &self,
        cursor: Option<Head>,
        stopping: impl Future<Output = ()> + Send + 'static,
        now: Timestamp,
    ) -> Result<Watch> {
        let feed = &self.0.feed;
        let position = feed.position();
        let place = self.0.watches.place()?;
        let (phase, at, snapshot) = if let Some(cursor) = cursor {
            reach(feed, &position, &cursor).await?;
            (Phase::News, cursor, None)
        } else {
            let turn = self.0.watches.snapshot().await?;
            feed.refresh().await?;
            (Phase::Keys, position.borrow().clone(), Some(turn))
        };
        let mut heartbeats = interval(HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Watch {
            store: self.0.store.clone(),
            feed: feed.clone(),
            position,
            phase,
            at,
            now,
            events: VecDeque::new(),
            _place: place,
            snapshot,
            stopping: Box::pin(stopping),
            heartbeats,
            end: Box::pin(sleep(LASTS)),
            _watchers: GaugeGuard::new(&self.0.metrics.watchers),
        })
    }
}

/// Waits until this process has read the feed up to a cursor, which another process may have given.
async fn reach(feed: &Feed, position: &watch::Receiver<Head>, cursor: &Head) -> Result<()> {
    let is_reached = || {
        let position = position.borrow();
        position.epoch == cursor.epoch && position.number >= cursor.number
    };
    if !is_reached() {
        feed.refresh().await?;
    }
    if is_reached() {
        Ok(())
    } else {
        Err(Error::CursorExpired)
    }
}

impl Watch {
    /// The next event; `None` once the watch has lasted as long as it may.
    ///
    /// # Errors
    /// [`Error::CursorExpired`] if changes were deleted before they were told, or the store has a new
    /// epoch; [`Error::ShuttingDown`]; and the store's errors. The watch is over then.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        if self.is_over()? {
            return Ok(None);
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.phase.clone() {
                Phase::Keys => self.tell_keys().await?,
                Phase::Bans(after) => self.tell_bans(after).await?,
                Phase::Changes(after) => self.tell_changes(after).await?,
                Phase::News => {
                    if self.has_news()? {
                        self.tell_news().await?;
                    } else if !self.wait().await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Whether the watch has lasted as long as it may.
    fn is_over(&mut self) -> Result<bool> {
        if self.stopping.as_mut().now_or_never().is_some() {
            return Err(Error::ShuttingDown);
        }
        Ok(self.end.is_elapsed())
    }

    /// Tells which keys were revoked, those too that the feed does not have any more: whoever has the
    /// key may make tokens that live as long as they like.
    async fn tell_keys(&mut self) -> Result<()> {
        let keys = self.store.list_signing_keys().await?;
        let is_revoked = |key: &SealedSigningKey| key.state == SigningKeyState::Revoked;
        for key in keys.into_iter().filter(is_revoked) {
            self.push(None, News::KeyRevoked(key.id));
        }
        self.phase = Phase::Bans(None);
        Ok(())
    }

    async fn tell_bans(&mut self, after: Option<PageCursor>) -> Result<()> {
        let page = PageRequest { size: BATCH, after };
        let page = self.store.list_bans(&page, self.now).await?;
        for ban in page.items {
            self.push(None, News::Banned(Box::new(ban)));
        }
        self.phase = match page.next {
            Some(next) => Phase::Bans(Some(next)),
            None => Phase::Changes(0),
        };
        Ok(())
    }

    /// Tells what ended sessions and is in the feed: as long as a token may live, it is.
    async fn tell_changes(&mut self, after: i64) -> Result<()> {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let changes = self.store.list_changes(after, limit).await?;
        let last = changes.last().map_or(i64::MAX, |last| last.number);
        let end = self.at.number;
        for Numbered { change, .. } in changes.into_iter().filter(|change| change.number <= end) {
            match change {
                Change::SessionRevoked(_) | Change::UserNotBefore { .. } | Change::Unknown => {
                    if let Some(news) = news(&self.store, change).await? {
                        self.push(None, news);
                    }
                }
                // Bans and revoked keys were told, and what is known of users is not older than the
                // watch.
                Change::UserChanged(_)
                | Change::Banned { .. }
                | Change::BanLifted { .. }
                | Change::KeyRevoked(_)
                | Change::KeysChanged => {}
            }
        }
        self.phase = Phase::Changes(last);
        if last >= end {
            self.push(Some(end), News::SnapshotEnd);
            self.phase = Phase::News;
            self.snapshot = None;
        }
        Ok(())
    }

    /// Whether changes came in.
    fn has_news(&mut self) -> Result<bool> {
        let position = self.position.borrow_and_update();
        if position.epoch != self.at.epoch {
            return Err(Error::CursorExpired);
        }
        Ok(position.number > self.at.number)
    }

    async fn tell_news(&mut self) -> Result<()> {
        let changes = self.feed.after(self.at.number).await?;
        if changes.is_empty() {
            // They were deleted.
            return Err(Error::CursorExpired);
        }
        for Numbered { number, change } in changes {
            if number != self.at.number + 1 {
                return Err(Error::CursorExpired);
            }
            let news = news(&self.store, change).await?;
            self.at.number = number;
            if let Some(news) = news {
                self.push(Some(number), news);
            }
        }
        Ok(())
    }

    /// Waits until there may be news, or it is time for a heartbeat; `false` if the watch is over.
    async fn wait(&mut self) -> Result<bool> {
        tokio::select! {
            biased;
            () = &mut self.stopping => return Err(Error::ShuttingDown),
            () = &mut self.end => return Ok(false),
            changed = self.position.changed() => {
                // The feed lives as long as the service.
                changed.map_err(|_| Error::ShuttingDown)?;
                return Ok(true);
            }
            _ = self.heartbeats.tick() => {}
        }
        // No heartbeat tells the watcher that the feed cannot be read.
        if self.feed.is_current() {
            self.push(Some(self.at.number), News::Heartbeat);
        }
        Ok(true)
    }

    fn push(&mut self, number: Option<i64>, news: News) {
        let cursor = number.map(|number| Head {
            epoch: self.at.epoch.clone(),
            number,
        });
        self.events.push_back(Event { cursor, news });
    }
}

/// What a change means for watchers; `None` if nothing.
async fn news(store: &Store, change: Change) -> Result<Option<News>> {
    Ok(Some(match change {
        Change::SessionRevoked(session) => News::SessionRevoked(session),
        Change::UserNotBefore {
            user,
            not_before,
            except,
        } => News::UserNotBefore {
            user,
            not_before,
            except,
        },
        Change::UserChanged(user) => News::UserChanged(user),
        Change::Banned { ban, .. } => match store.find_ban_by_id(&ban).await? {
            Some(ban) => News::Banned(Box::new(ban)),
            // It is over, and its row is deleted.
            None => News::BanLifted(ban),
        },
        Change::BanLifted { ban, .. } => News::BanLifted(ban),
        Change::KeyRevoked(kid) => News::KeyRevoked(kid),
        Change::KeysChanged => return Ok(None),
        Change::Unknown => News::Unknown,
    }))
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
