use std::time::Duration;

use futures_util::future::join;
use tokio::sync::oneshot;

use super::*;
use crate::model::session::Device;
use crate::store::testing::{on_each_engine, signed_in};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const SLOW: Duration = Duration::from_secs(9);

#[tokio::test]
async fn a_rotation_has_the_time_at_which_it_is_written_however_long_the_store_took_before() {
    on_each_engine(async |store| {
        let (_, id) = signed_in(&store, NOW).await;
        let clock = Clock::manual(NOW);
        // SQLite has one connection for writing; on PostgreSQL there are others.
        let writer = store.pools.write.acquire().await.expect("free");
        let (has_read, read) = oneshot::channel();
        let refresh = store.refresh_session(&id, &clock, |_| {
            clock.advance(SLOW);
            has_read.send(()).expect("waited for");
            Refresh::<()>::Rotate(Device::default())
        });
        let wait = async {
            read.await.expect("read");
            clock.advance(SLOW);
            drop(writer);
        };
        let (refreshed, ()) = join(refresh, wait).await;
        assert!(matches!(refreshed, Ok(Some(Refreshed::Rotated(_)))));
        let found = store.find_session(&id, clock.now()).await;
        let session = found.expect("answers").expect("there").session;
        let waited = if store.postgres().is_some() {
            SLOW
        } else {
            2 * SLOW
        };
        assert_eq!(session.refresh_time, NOW.plus(waited));
    })
    .await;
}

#[tokio::test]
async fn a_hundred_sessions_are_read_with_one_statement() {
    on_each_engine(async |store| {
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(signed_in(&store, NOW).await.1);
        }
        let asked: Vec<_> = ids.iter().cycle().take(2 * BATCH).collect();
        for (count, statements) in [(1, 1), (BATCH, 1), (BATCH + 1, 2), (2 * BATCH, 2)] {
            let before = store.answers();
            let found = store.find_sessions(&asked[..count], NOW).await;
            assert!(found.expect("answers").len() >= count.min(ids.len()));
            assert_eq!(store.answers() - before, statements, "{count} sessions");
        }
    })
    .await;
}
