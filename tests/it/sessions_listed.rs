//! Listing sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::*;

use crate::support::calls::{by_token, by_user, fields};
use crate::support::{World, client, on_each_engine, reason};

async fn list(world: &World<'_>, request: ListSessionsRequest) -> ListSessionsResponse {
    world
        .tokens()
        .list_sessions(request)
        .await
        .expect("listed")
        .into_inner()
}

fn page(subject: Option<Subject>, size: i32, token: &str) -> ListSessionsRequest {
    ListSessionsRequest {
        subject,
        page_size: size,
        page_token: token.to_owned(),
    }
}

#[tokio::test]
async fn live_sessions_are_listed_newest_first_page_by_page() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let mut made = vec![first.session_id.clone()];
        for turn in 0..6 {
            // Some are created in the same instant, so that time alone does not decide the order.
            world.clock.advance(Duration::from_secs((turn + 1) % 2));
            made.push(world.mint(&user.id).await.session_id);
        }
        let ended = world.mint(&user.id).await;
        world.revoke(&ended.session_id).await;

        let subject = by_token(&first.access_token);
        let whole = list(&world, page(subject.clone(), 0, "")).await;
        assert_eq!(whole.next_page_token, "");
        assert!(whole.sessions.is_sorted_by_key(|session| std::cmp::Reverse(
            session.create_time.map(|time| (time.seconds, time.nanos))
        )));
        let (listed, expected): (BTreeSet<_>, BTreeSet<_>) = (
            whole.sessions.iter().map(|s| &s.id).collect(),
            made.iter().collect(),
        );
        assert_eq!(listed, expected);
        let oldest = whole.sessions.last().expect("some");
        assert_eq!(
            (oldest.id.as_str(), oldest.user_id.as_str()),
            (made[0].as_str(), user.id.as_str())
        );
        assert_eq!(
            (
                oldest.provider.as_str(),
                oldest.caller.as_str(),
                oldest.client.clone()
            ),
            ("local", "open", client())
        );
        let (mut paged, mut token) = (Vec::new(), String::new());
        for size in [3, 3, 1] {
            let answer = list(&world, page(subject.clone(), 3, &token)).await;
            assert_eq!(answer.sessions.len(), size);
            paged.extend(answer.sessions);
            token = answer.next_page_token;
        }
        assert_eq!((&paged, token.as_str()), (&whole.sessions, ""));
        let by_id = page(by_user(&user.id), 0, "");
        assert_eq!(list(&world, by_id).await.sessions, whole.sessions);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_page_token_is_valid_only_for_the_list_of_its_own_user() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        world.mint(&user.id).await;
        let (other, others) = world.signed_in("bob@example.com").await;
        let subject = by_token(&first.access_token);
        let refused = async |request| {
            world
                .tokens()
                .list_sessions(request)
                .await
                .expect_err("refused")
        };
        let token = list(&world, page(subject.clone(), 1, ""))
            .await
            .next_page_token;
        let foreign = page(by_token(&others.access_token), 0, &token);
        assert_eq!(fields(&refused(foreign).await), ["page_token"]);
        let status = refused(page(subject, -1, "x")).await;
        assert_eq!(
            (reason(&status).1.as_str(), fields(&status)),
            (
                "FIELDS_INVALID",
                vec!["page_size".to_owned(), "page_token".to_owned()]
            )
        );
        let of_other = page(by_user(&other.id), 0, "");
        assert_eq!(list(&world, of_other).await.sessions.len(), 1);
        world.end().await;
    })
    .await;
}
