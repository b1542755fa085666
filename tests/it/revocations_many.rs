//! WatchRevocations while many write: a watch that is cut off again and again leaves nothing out.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::watch_revocations_response::Change;
use countersign::grpc::proto::*;
use futures_util::future::{join, join_all};
use tokio::time::timeout;

use crate::revocations::{next, snapshot, watch};
use crate::support::world::Replica;
use crate::support::{World, on_each_engine};

const WRITERS: usize = 8;
const SESSIONS: usize = 12;
/// A watch ends after so many events, and another replica's goes on.
const CUT_OFF: usize = 5;

/// Opens sessions and ends them, in turn at both replicas.
async fn write(replicas: [&Replica; 2], user: &str) -> Vec<String> {
    let mut ended = Vec::new();
    for number in 0..SESSIONS {
        let request = MintSessionRequest {
            user_id: user.to_owned(),
            ..Default::default()
        };
        let minted = replicas[number % 2].tokens().mint_session(request).await;
        let minted = minted.expect("minted").into_inner();
        let session_id = minted.tokens.expect("tokens").session_id;
        let request = RevokeSessionRequest {
            session_id: session_id.clone(),
            subject: None,
        };
        let mut tokens = replicas[(number + 1) % 2].tokens();
        tokens.revoke_session(request).await.expect("ended");
        ended.push(session_id);
    }
    ended
}

/// The sessions that are told until there are so many of them.
async fn told(replicas: [&Replica; 2], mut cursor: String, most: usize) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    let mut turn = 0;
    while told.len() < most {
        let mut events = watch(replicas[turn % 2], &cursor).await.expect("watching");
        for _ in 0..CUT_OFF {
            let (at, change) = next(&mut events).await;
            cursor = at;
            if let Some(Change::SessionRevoked(revoked)) = change {
                assert!(told.insert(revoked.session_id), "told twice");
            }
            if told.len() == most {
                break;
            }
        }
        turn += 1;
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_watch_that_is_cut_off_again_and_again_while_many_write_leaves_nothing_out() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        let mut events = watch(&other, "").await.expect("watching");
        let (_, cursor) = snapshot(&mut events).await;
        drop(events);
        let both = [world.replica(), &other];
        let writers = join_all((0..WRITERS).map(|_| write(both, &user.id)));
        let watcher = told(both, cursor, WRITERS * SESSIONS);
        let (ended, told) = timeout(Duration::from_mins(1), join(writers, watcher))
            .await
            .expect("everything is told");
        let ended: BTreeSet<_> = ended.into_iter().flatten().collect();
        assert_eq!(told, ended);
        other.stop().await;
        world.end().await;
    })
    .await;
}
