//! How many live sessions a user may have.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::watch_revocations_response::Change;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::transport::Channel;

use crate::refresh::{refused, unauthenticated};
use crate::revocations::{next_news, snapshot, watch};
use crate::support::calls::{PASSWORD, by_user, login_request, patiently};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};
use crate::verify::REVOKED;

const CAP: &str = "COUNTERSIGN_SESSIONS_PER_USER";

/// The ids of a user's live sessions.
async fn live(world: &World<'_>, user: &str) -> BTreeSet<String> {
    let request = ListSessionsRequest {
        subject: by_user(user),
        page_size: 1000,
        page_token: String::new(),
    };
    let listed = world.tokens().list_sessions(request).await.expect("listed");
    let sessions = listed.into_inner().sessions.into_iter();
    sessions.map(|session| session.id).collect()
}

fn ended_by_cap(world: &World<'_>) -> u64 {
    world.count("countersign_sessions_ended_total", "reason=\"cap\"")
}

#[tokio::test]
async fn one_session_more_than_a_user_may_have_ends_the_oldest() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CAP, "3")]).await;
        let (user, oldest) = world.signed_in("ann@example.com").await;
        let (_, others) = world.signed_in("bob@example.com").await;
        let mut events = watch(world.replica(), "").await.expect("watching");
        snapshot(&mut events).await;
        world.clock.advance(Duration::from_secs(1));
        let second = world.mint(&user.id).await;
        world.clock.advance(Duration::from_secs(1));
        let third = world.mint(&user.id).await;
        assert!(world.verdict(&oldest.access_token).await.0);
        // What was refreshed last is not newer for it.
        let refreshed = world.refresh(&oldest.refresh_token).await.expect("live");

        let fourth = world.login("ann@example.com").await.tokens.expect("tokens");
        assert_eq!(world.verdict(&refreshed.access_token).await, REVOKED);
        assert_eq!(
            refused(world.refresh(&refreshed.refresh_token).await),
            unauthenticated("SESSION_REVOKED")
        );
        let left = [&second, &third, &fourth].map(|tokens| tokens.session_id.clone());
        assert_eq!(live(&world, &user.id).await, BTreeSet::from(left));
        assert!(world.verdict(&others.access_token).await.0);
        let (_, told) = next_news(&mut events).await;
        let session_id = oldest.session_id;
        let ended = Change::SessionRevoked(SessionRevoked { session_id });
        assert_eq!(told, Some(ended));
        assert_eq!(ended_by_cap(&world), 1);
        drop(events);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_that_has_ended_or_expired_does_not_count() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CAP, "2")]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        for _ in 0..3 {
            let ended = world.mint(&user.id).await;
            world.revoke(&ended.session_id).await;
            let request = MintSessionRequest {
                user_id: user.id.clone(),
                ttl: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
                ..Default::default()
            };
            world.tokens().mint_session(request).await.expect("minted");
            world.clock.advance(Duration::from_secs(2));
        }
        let second = world.mint(&user.id).await;
        let left = [first, second].map(|tokens| tokens.session_id);
        assert_eq!(live(&world, &user.id).await, BTreeSet::from(left));
        assert_eq!(ended_by_cap(&world), 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_at_a_provider_counts_and_the_ended_session_loses_its_provider_tokens() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[(CAP, "1")]).await;
        let (user, first) = world.arrive("ann").await;
        world.clock.advance(Duration::from_secs(1));
        let (_, second) = world.arrive("ann").await;
        assert_eq!(world.verdict(&first.access_token).await, REVOKED);
        let tokens = "SELECT COUNT(*) FROM federated_tokens";
        assert_eq!(engine.number(tokens).await, 1);
        world.bearer(&second.access_token).await.expect("resolved");
        world.mint(&user.id).await;
        assert_eq!(engine.number(tokens).await, 0);
        assert_eq!(ended_by_cap(&world), 2);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_lower_cap_counts_from_the_next_session_on() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[(CAP, "6")]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let mut minted = Vec::new();
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(1));
            minted.push(world.mint(&user.id).await.session_id);
        }
        world.set(CAP, "2");
        world.restart().await;
        assert_eq!(live(&world, &user.id).await.len(), 6);
        world.clock.advance(Duration::from_secs(1));
        let newest = world.mint(&user.id).await.session_id;
        let left = BTreeSet::from([minted[4].clone(), newest]);
        assert_eq!(live(&world, &user.id).await, left);
        world.end().await;
    })
    .await;
}

/// Opens a session with a password or by a backend's request, patiently.
async fn open(channel: Channel, user: &str, number: usize) -> String {
    let tokens = if number.is_multiple_of(2) {
        let request = login_request("ann@example.com", PASSWORD);
        let call = async || {
            let mut auth = AuthServiceClient::new(channel.clone());
            auth.login(request.clone()).await
        };
        let answer = patiently(call).await.expect("signed in").into_inner();
        let login_response::Result::SignedIn(signed_in) = answer.result.expect("a result");
        signed_in.tokens
    } else {
        let request = MintSessionRequest {
            user_id: user.to_owned(),
            ..Default::default()
        };
        let call = async || {
            let mut tokens = TokenServiceClient::new(channel.clone());
            tokens.mint_session(request.clone()).await
        };
        patiently(call).await.expect("minted").into_inner().tokens
    };
    tokens.expect("tokens").session_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_sign_ins_at_once_on_two_replicas_leave_as_many_as_allowed() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CAP, "10")]).await;
        let other = world.another().await.expect("starts");
        let (user, _) = world.signed_in("ann@example.com").await;
        for _ in 0..9 {
            world.mint(&user.id).await;
        }
        let old = live(&world, &user.id).await;
        assert_eq!(old.len(), 10);
        world.clock.advance(Duration::from_secs(1));
        let channels = [world.channel(), other.channel.clone()];
        let opened = (0..50).map(|number| {
            let channel = channels[usize::from(number >= 25)].clone();
            open(channel, &user.id, number)
        });
        let opened: BTreeSet<_> = join_all(opened).await.into_iter().collect();
        assert_eq!(opened.len(), 50);

        let left = live(&world, &user.id).await;
        assert_eq!(left.len(), 10);
        assert!(left.is_subset(&opened) && left.is_disjoint(&old));
        let told = "SELECT COUNT(*) FROM changes WHERE kind = 'session_revoked'";
        assert_eq!(engine.number(told).await, 50);
        let reason = "SELECT COUNT(*) FROM sessions WHERE revoke_reason = 'cap'";
        assert_eq!(engine.number(reason).await, 50);
        other.stop().await;
        world.end().await;
    })
    .await;
}
