//! Two replicas on one database: callers who use both, and one replica that dies.

use std::time::Duration;

use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::*;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tonic::Status;
use tonic::transport::Channel;

use crate::refresh::{assert_one_step, generation, refresh_all};
use crate::support::{World, client, on_each_engine};
use crate::verify::ACTIVE;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_callers_who_refresh_one_token_at_two_replicas_get_the_same_successor() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..3 {
            let first = world.mint(&user.id).await;
            let at_both = (0..50).flat_map(|_| [world.tokens(), other.tokens()]);
            let pairs = refresh_all(at_both, &first.refresh_token).await;
            assert_eq!(pairs.len(), 100);
            assert_one_step(&world, &pairs).await;
        }
        other.stop().await;
        world.end().await;
    })
    .await;
}

async fn refresh(
    mut tokens: TokenServiceClient<Channel>,
    refresh_token: &str,
) -> Result<TokenPair, Status> {
    let request = RefreshSessionRequest {
        refresh_token: refresh_token.to_owned(),
        client: client(),
    };
    let refreshed = tokens.refresh_session(request).await?.into_inner();
    Ok(refreshed.tokens.expect("tokens"))
}

/// Refreshes all sessions at once at a replica that is killed once a quarter of them is refreshed. `None`
/// stands for a call that got no answer.
async fn refresh_at_a_dying_replica(
    world: &World<'_>,
    sessions: &[TokenPair],
) -> Vec<(TokenPair, Option<TokenPair>)> {
    let mortal = world.mortal().await;
    let tokens = mortal.replica.tokens();
    let calls = sessions.iter().map(async |session| {
        let refreshed = refresh(tokens.clone(), &session.refresh_token).await;
        (session.clone(), refreshed.ok())
    });
    let mut calls: FuturesUnordered<_> = calls.collect();
    let mut answers: Vec<_> = calls.by_ref().take(sessions.len() / 4).collect().await;
    mortal.kill();
    answers.extend(calls.collect::<Vec<_>>().await);
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_replica_that_is_killed_in_the_middle_costs_nobody_their_session() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let sessions = join_all((0..80).map(|_| world.mint(&user.id))).await;
        let answers = refresh_at_a_dying_replica(&world, &sessions).await;
        let cut_off = answers.iter().filter(|(_, answer)| answer.is_none());
        assert!(cut_off.count() > 0, "the replica was killed in the middle");
        for (session, answer) in answers {
            // The one whose call was cut off tries again, the other one goes on.
            let token = answer.map_or(session.refresh_token, |pair| pair.refresh_token);
            let pair = refresh(world.tokens(), &token)
                .await
                .expect("no session is lost");
            assert_eq!(world.verdict(&pair.access_token).await, ACTIVE);
            assert!([2, 3].contains(&generation(&world, &pair.session_id).await));
            world.clock.advance(Duration::from_millis(1));
            refresh(world.tokens(), &pair.refresh_token)
                .await
                .expect("the chain goes on");
        }
        world.end().await;
    })
    .await;
}
