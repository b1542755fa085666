use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::*;
use crate::clock::Timestamp;
use crate::error::Error;

/// A value that says which reading it came from.
struct Value {
    user: UserId,
    reading: usize,
}

impl Cached for Value {
    type Note = ();

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }
}

/// A cache, and a store that counts how often it is read.
struct World {
    cache: Cache<Value>,
    changes: Announcements,
    clock: Clock,
    user: UserId,
    session: SessionId,
    readings: Arc<AtomicUsize>,
}

impl World {
    /// The changes that concern the world's session.
    fn own_changes(&self) -> [Announcement; 2] {
        [
            Announcement::SessionRevoked(self.session.clone()),
            Announcement::UserChanged(self.user.clone()),
        ]
    }

    fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let changes = Announcements::default();
        let cache = Cache::new(clock.clone(), &changes, |change| match change {
            Announcement::SessionRevoked(session) => Affects::Session(session),
            Announcement::UserChanged(user) => Affects::User(user),
            Announcement::Everything => Affects::Everything,
            Announcement::TokensChanged(_)
            | Announcement::TokensOfUserChanged(_)
            | Announcement::KeyRevoked(_)
            | Announcement::KeysChanged => Affects::Nothing,
        });
        Self {
            cache,
            changes,
            user: UserId::new(clock.now()),
            clock,
            session: SessionId::new(),
            readings: Arc::default(),
        }
    }

    fn entry(&self) -> Arc<Entry<Value>> {
        self.cache.entry(&self.session)
    }

    /// Which reading the value comes from. A new reading first waits for `gate`, and fails if the
    /// gate was dropped.
    async fn gated(
        &self,
        entry: &Entry<Value>,
        gate: impl Future<Output = Result<(), oneshot::error::RecvError>> + Send + 'static,
    ) -> Result<usize> {
        let gate = Mutex::new(Some(gate));
        let read = |_| {
            let gate = lock(&gate).take();
            let (user, readings) = (self.user.clone(), Arc::clone(&self.readings));
            async move {
                let reading = readings.fetch_add(1, Ordering::SeqCst) + 1;
                if let Some(gate) = gate {
                    gate.await.map_err(Error::internal)?;
                }
                Ok(Some(Value { user, reading }))
            }
        };
        let value = self.cache.get(entry, read).await?.expect("a value");
        Ok(value.reading)
    }

    async fn get(&self, entry: &Entry<Value>) -> usize {
        let got = self.gated(entry, std::future::ready(Ok(()))).await;
        got.expect("no failure")
    }
}

#[tokio::test]
async fn a_value_is_kept_for_a_second_and_until_it_changes() {
    let world = World::new();
    let entry = world.entry();
    assert_eq!(world.get(&entry).await, 1);
    assert_eq!(world.get(&entry).await, 1);
    world.clock.advance(FRESH);
    assert_eq!(world.get(&entry).await, 1);
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.get(&entry).await, 2);
    world
        .changes
        .publish(&Announcement::SessionRevoked(world.session.clone()));
    assert_eq!(world.get(&entry).await, 3);
    world
        .changes
        .publish(&Announcement::UserChanged(world.user.clone()));
    assert_eq!(world.get(&entry).await, 4);
    world.cache.forget(&world.session);
    assert_eq!(world.get(&entry).await, 5);
}

#[tokio::test]
async fn changes_of_other_sessions_and_users_or_of_other_things_leave_it() {
    let world = World::new();
    let entry = world.entry();
    assert_eq!(world.get(&entry).await, 1);
    let stranger = UserId::new(world.clock.now());
    for change in [
        Announcement::TokensChanged(world.session.clone()),
        Announcement::TokensOfUserChanged(world.user.clone()),
        Announcement::SessionRevoked(SessionId::new()),
        Announcement::UserChanged(stranger),
    ] {
        world.changes.publish(&change);
        assert_eq!(world.get(&entry).await, 1, "{change:?}");
    }
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept_after_it() {
    let world = World::new();
    for change in world.own_changes() {
        let entry = world.entry();
        let (open, gate) = oneshot::channel();
        let (publish, changes) = (change.clone(), world.changes.clone());
        let reading = world.gated(&entry, gate);
        let meanwhile = async move {
            changes.publish(&publish);
            open.send(()).expect("somebody waits");
        };
        let (read, ()) = tokio::join!(reading, meanwhile);
        let read = read.expect("no failure");
        assert_eq!(world.get(&entry).await, read + 1, "{change:?}");
    }
}

#[tokio::test]
async fn concurrent_calls_read_once_and_share_the_failure_too() {
    let world = World::new();
    let entry = world.entry();
    for fails in [true, false] {
        let (open, gate) = oneshot::channel();
        let first = world.gated(&entry, gate);
        let others = join_all((0..20).map(|_| world.gated(&entry, std::future::ready(Ok(())))));
        let gate = async move {
            if fails {
                drop(open);
            } else {
                open.send(()).expect("somebody waits");
            }
        };
        let (first, others, ()) = tokio::join!(first, others, gate);
        assert_eq!(first.is_err(), fails);
        assert!(others.iter().all(|other| other.is_err() == fails));
        let readings = if fails { 1 } else { 2 };
        assert_eq!(world.readings.load(Ordering::SeqCst), readings);
    }
}

#[tokio::test]
async fn a_reading_goes_on_for_the_others_if_the_call_that_began_it_is_cancelled() {
    let world = World::new();
    let entry = world.entry();
    let (open, gate) = oneshot::channel();
    let mut first = Box::pin(world.gated(&entry, gate));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(world.get(&entry));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    open.send(()).expect("somebody waits");
    assert_eq!(second.await, 1);
}

#[tokio::test]
async fn a_call_does_not_use_a_reading_that_began_before_a_change_which_it_must_know() {
    let world = World::new();
    for change in world.own_changes() {
        let entry = world.entry();
        let (open, gate) = oneshot::channel();
        let mut old = Box::pin(world.gated(&entry, gate));
        assert!(futures_util::poll!(&mut old).is_pending());
        world.changes.publish(&change);
        let mut new = Box::pin(world.get(&entry));
        assert!(futures_util::poll!(&mut new).is_pending());
        open.send(()).expect("somebody waits");
        let (new, old) = (new.await, old.await.expect("no failure"));
        assert_eq!(new, old + 1, "{change:?}");
    }
}

#[tokio::test]
async fn a_call_does_not_use_a_reading_that_began_more_than_a_second_before_it() {
    let world = World::new();
    let entry = world.entry();
    let (open, gate) = oneshot::channel();
    let mut old = Box::pin(world.gated(&entry, gate));
    assert!(futures_util::poll!(&mut old).is_pending());
    world.clock.advance(FRESH + Duration::from_millis(1));
    let mut new = Box::pin(world.get(&entry));
    assert!(futures_util::poll!(&mut new).is_pending());
    open.send(()).expect("somebody waits");
    assert_eq!((new.await, old.await.expect("no failure")), (2, 1));
}

#[tokio::test]
async fn a_value_that_was_given_is_used_until_something_changes() {
    let world = World::new();
    let entry = world.entry();
    let value = |reading| {
        Arc::new(Value {
            user: world.user.clone(),
            reading,
        })
    };
    let began = world.cache.moment();
    world
        .changes
        .publish(&Announcement::UserChanged(world.user.clone()));
    world.cache.keep(&entry, value(100), began);
    assert_eq!(world.get(&entry).await, 1, "it was read before the change");
    world.clock.advance(Duration::from_millis(1));
    world.cache.keep(&entry, value(200), world.cache.moment());
    assert_eq!(world.get(&entry).await, 200);
    world.cache.keep(&entry, value(100), began);
    assert_eq!(world.get(&entry).await, 200, "an older value is not kept");
}

#[test]
fn an_entry_that_nobody_holds_is_gone() {
    let world = World::new();
    drop(world.entry());
    assert!(lock(&world.cache.index.entries).is_empty());
}
