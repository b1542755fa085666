use super::*;
use crate::clock::Timestamp;
use crate::metrics::{Ended, Metrics};
use crate::store::Expired;
use crate::store::announcements::Announcement;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A follower, its clock, and what it announces.
struct Following {
    feed: Feed,
    clock: Clock,
    store: Store,
    heard: Arc<Mutex<Vec<Announcement>>>,
}

impl Following {
    async fn of(store: &Store) -> Self {
        let clock = Clock::manual(NOW);
        let metrics = Metrics::new(&clock).feed;
        let feed = Feed::start(store.clone(), clock.clone(), metrics).await;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&heard);
        let push = move |heard: &Announcement| lock(&listener).push(heard.clone());
        store.announcements().listen(push);
        Self {
            feed: feed.expect("starts"),
            clock,
            store: store.clone(),
            heard,
        }
    }

    /// What the follower announces now that it is no longer current.
    async fn announced(&self) -> Vec<Announcement> {
        lock(&self.heard).clear();
        self.clock.advance(CURRENT + Duration::from_millis(1));
        assert!(!self.feed.is_current());
        assert!(self.feed.catch_up().await);
        assert!(self.feed.is_current());
        std::mem::take(&mut *lock(&self.heard))
    }

    /// Another process ends a session; what that announces.
    async fn ended(&self) -> Announcement {
        let (_, session) = signed_in(&self.store, NOW).await;
        self.store.revoke_elsewhere(&session, NOW).await;
        Announcement::SessionRevoked(session)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn what_was_committed_is_announced_once_and_in_order() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        assert_eq!(following.announced().await, []);
        let mut expected = Vec::new();
        for _ in 0..3 {
            expected.push(following.ended().await);
        }
        assert_eq!(following.announced().await, expected);
        assert_eq!(following.announced().await, []);
        assert_eq!(following.feed.0.metrics.changes.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn what_this_process_commits_is_announced_at_once_and_not_again() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        let (_, session) = signed_in(&store, NOW).await;
        let ended = store.revoke_session(&session, None, Ended::Revoked, NOW);
        assert!(ended.await.expect("ended"));
        let announced = [Announcement::SessionRevoked(session)];
        assert_eq!(*lock(&following.heard), announced);
        let others = following.ended().await;
        assert_eq!(following.announced().await, [others]);
        assert_eq!(following.announced().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_current_feed_is_not_read_again() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        let answers = store.answers();
        following.clock.advance(CURRENT);
        assert!(following.feed.catch_up().await);
        assert_eq!(store.answers(), answers);
    })
    .await;
}

#[tokio::test]
async fn all_is_dropped_if_the_epoch_changed_the_store_was_set_back_or_changes_are_missing() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        let anew = [Announcement::Everything];
        let epoch = async || store.feed_head().await.expect("read").epoch;
        store.replace_epoch(&epoch().await).await.expect("replaced");
        assert_eq!(following.announced().await, anew);
        assert_eq!(following.announced().await, []);

        // As after a restore: the number that this process knows is not reached yet.
        following
            .feed
            .0
            .position
            .send_modify(|position| position.number = 7);
        let before = epoch().await;
        assert_eq!(following.announced().await, anew);
        assert_ne!(epoch().await, before, "other processes are told");
        assert_eq!(following.announced().await, []);

        following.ended().await;
        let deleted = store.delete_expired(Expired::Changes, NOW).await;
        deleted.expect("deleted");
        following.ended().await;
        assert_eq!(following.announced().await, anew);
        assert_eq!(following.announced().await, []);
        let expected = following.ended().await;
        assert_eq!(following.announced().await, [expected]);
        assert_eq!(following.feed.0.metrics.resets.get(), 3);
    })
    .await;
}

#[tokio::test]
async fn more_changes_than_a_statement_reads_are_all_announced() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        let changes = usize::try_from(BATCH).expect("small") + 1;
        let mut expected = Vec::new();
        for _ in 0..changes {
            expected.push(following.ended().await);
        }
        assert_eq!(following.announced().await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_cannot_be_read_is_not_waited_for_twice() {
    on_each_engine(async |store| {
        let following = Following::of(&store).await;
        store.close().await;
        following.clock.advance(CURRENT * 2);
        assert!(!following.feed.fails());
        assert!(!following.feed.catch_up().await);
        assert!(following.feed.fails());
        assert!(!following.feed.catch_up().await);
        assert_eq!(following.feed.0.metrics.failures.get(), 1);
        assert_eq!(following.feed.age(), CURRENT * 2);
    })
    .await;
}
