//! Bans: how they are made, listed and lifted.

use std::time::Duration;

use countersign::grpc::proto::ban_target_request::Target;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::calls::{PASSWORD, fields, login_request};
use crate::support::{World, on_each_engine, reason};

pub(crate) fn user(id: &str) -> Target {
    Target::UserId(id.to_owned())
}

pub(crate) fn address(text: &str) -> Target {
    Target::IpAddress(text.to_owned())
}

pub(crate) fn range(text: &str) -> Target {
    Target::Cidr(text.to_owned())
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]
fn for_minutes(minutes: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration {
        seconds: minutes * 60,
        nanos: 0,
    })
}

async fn try_ban(
    world: &World<'_>,
    target: Option<Target>,
    duration: Option<prost_types::Duration>,
) -> Result<Ban, Status> {
    let request = BanTargetRequest {
        target,
        duration,
        reason: "spam".to_owned(),
        request_id: String::new(),
    };
    Ok(world
        .moderation()
        .ban_target(request)
        .await?
        .into_inner()
        .ban
        .expect("a ban"))
}

pub(crate) async fn ban(world: &World<'_>, target: Target, minutes: i64) -> Ban {
    try_ban(world, Some(target), for_minutes(minutes))
        .await
        .expect("banned")
}

async fn lift(world: &World<'_>, id: &str) -> Result<Ban, Status> {
    let request = LiftBanRequest {
        ban_id: id.to_owned(),
    };
    Ok(world
        .moderation()
        .lift_ban(request)
        .await?
        .into_inner()
        .ban
        .expect("the ban"))
}

pub(crate) async fn access(
    world: &World<'_>,
    user_id: &str,
    ip_address: &str,
) -> Result<CheckAccessResponse, Status> {
    let request = CheckAccessRequest {
        user_id: user_id.to_owned(),
        ip_address: ip_address.to_owned(),
    };
    world
        .moderation()
        .check_access(request)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test]
async fn lifting_a_ban_ends_it_at_once_and_leaves_other_bans_in_force() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (ann, tokens) = world.signed_in("ann@example.com").await;
        let (short, long) = (
            ban(&world, user(&ann.id), 10).await,
            try_ban(&world, Some(user(&ann.id)), None)
                .await
                .expect("banned"),
        );
        assert_eq!(long.expire_time, None);
        let login = async || {
            world
                .auth()
                .login(login_request("ann@example.com", PASSWORD))
                .await
        };
        let refused = login().await.expect_err("banned");
        assert!(
            !refused
                .get_details_error_info()
                .expect("ErrorInfo")
                .metadata
                .contains_key("until"),
            "it has no end"
        );
        assert_eq!(lift(&world, &long.id).await.expect("lifted"), long);
        let refused = login().await.expect_err("banned");
        assert!(
            refused
                .get_details_error_info()
                .expect("ErrorInfo")
                .metadata
                .contains_key("until")
        );
        assert_eq!(
            access(&world, &ann.id, "")
                .await
                .expect("an answer")
                .ban
                .as_ref(),
            Some(&short)
        );
        lift(&world, &short.id).await.expect("lifted");
        assert_eq!(
            world.verify(&tokens.access_token).await.inactive_reason(),
            InactiveReason::SessionRevoked
        );
        world.login("ann@example.com").await;
        assert_eq!(
            reason(&lift(&world, &short.id).await.expect_err("lifted before")),
            (Code::NotFound, "BAN_NOT_FOUND".to_owned())
        );
        assert_eq!(
            fields(&lift(&world, "x").await.expect_err("no id")),
            ["ban_id"]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn for_an_invalid_ban_every_wrong_field_is_named_and_nobody_is_banned() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        for (target, field) in [
            (None, "target"),
            (Some(user("ann")), "user_id"),
            (Some(address("")), "ip_address"),
            (Some(address("203.0.113.0/24")), "ip_address"),
            (Some(address("01.2.3.4")), "ip_address"),
            (Some(range("203.0.113.1/24")), "cidr"),
            (Some(range("203.0.113.1")), "cidr"),
            (Some(range("203.0.113.0/33")), "cidr"),
        ] {
            assert_eq!(
                fields(
                    &try_ban(&world, target.clone(), for_minutes(1))
                        .await
                        .expect_err("refused")
                ),
                [field],
                "{target:?}"
            );
        }
        for duration in [
            for_minutes(0),
            for_minutes(-1),
            for_minutes(101 * 366 * 24 * 60),
        ] {
            let request = BanTargetRequest {
                target: None,
                duration,
                reason: "line\nbreak".to_owned(),
                request_id: "two words".to_owned(),
            };
            let status = world
                .moderation()
                .ban_target(request)
                .await
                .expect_err("refused");
            assert_eq!(
                fields(&status),
                ["duration", "reason", "request_id", "target"],
                "{duration:?}"
            );
        }
        assert_eq!(engine.number("SELECT COUNT(*) FROM bans").await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn bans_in_force_are_listed_newest_first_page_by_page() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut made = Vec::new();
        for n in 0..6 {
            made.push(ban(&world, address(&format!("203.0.113.{n}")), 10 + n).await);
            world.clock.advance(Duration::from_secs(1));
        }
        lift(&world, &made.remove(2).id).await.expect("lifted");
        made.reverse();
        let page = async |page_size, page_token: &str| {
            let request = ListBansRequest {
                page_size,
                page_token: page_token.to_owned(),
            };
            world
                .moderation()
                .list_bans(request)
                .await
                .map(tonic::Response::into_inner)
        };
        let first = page(2, "").await.expect("a page");
        let second = page(2, &first.next_page_token).await.expect("a page");
        let third = page(2, &second.next_page_token).await.expect("a page");
        assert_eq!(
            (
                third.next_page_token.as_str(),
                [first.bans, second.bans, third.bans].concat()
            ),
            ("", made.clone())
        );
        assert_eq!(
            fields(&page(-1, "x").await.expect_err("refused")),
            ["page_size", "page_token"]
        );
        let elsewhere = ListUsersRequest {
            page_size: 2,
            page_token: second.next_page_token,
        };
        assert_eq!(
            fields(
                &world
                    .auth()
                    .list_users(elsewhere)
                    .await
                    .expect_err("another list's")
            ),
            ["page_token"]
        );
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(
            page(0, "").await.expect("a page").bans,
            made[..4],
            "the oldest ban has ended"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_makes_one_ban_and_with_other_content_none() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let first = BanTargetRequest {
            target: Some(Target::UserId(user.id)),
            duration: for_minutes(5),
            reason: "spam".to_owned(),
            request_id: "ban-1".to_owned(),
        };
        let send = async |request| world.moderation().ban_target(request).await;
        let made = join_all((0..5).map(|_| send(first.clone()))).await;
        let made: Vec<_> = made
            .into_iter()
            .map(|made| made.expect("banned").into_inner().ban.expect("a ban"))
            .collect();
        assert!(made.iter().all(|ban| *ban == made[0]), "{made:?}");
        assert_eq!((&*made[0].violation_type, &*made[0].caller), ("", "open"));
        let changes: [fn(&mut BanTargetRequest); 4] = [
            |request| request.target = Some(Target::Cidr("192.0.2.0/24".to_owned())),
            |request| request.duration = for_minutes(6),
            |request| request.duration = None,
            |request| request.reason = "other".to_owned(),
        ];
        for change in changes {
            let mut request = first.clone();
            change(&mut request);
            let status = send(request.clone()).await.expect_err("refused");
            let taken = (Code::Aborted, "REQUEST_ID_USED".to_owned());
            assert_eq!(reason(&status), taken, "{request:?}");
        }
        lift(&world, &made[0].id).await.expect("lifted");
        let again = send(first).await.expect("answers").into_inner().ban;
        assert_eq!(again.as_ref(), made.first(), "lifted, and not made again");
        assert_eq!(engine.number("SELECT COUNT(*) FROM bans").await, 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_by_score_tells_the_violation_and_who_reported_it() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let report = RecordViolationRequest {
            r#type: "non_browser".to_owned(),
            ip_address: "203.0.113.9".to_owned(),
            ..Default::default()
        };
        let recorded = world.moderation().record_violation(report).await;
        let ban = recorded.expect("recorded").into_inner().ban.expect("a ban");
        assert_eq!(
            (&*ban.violation_type, &*ban.caller, &*ban.reason),
            ("non_browser", "open", "non_browser")
        );
        let mut moderation = world.moderation();
        let listed = moderation.list_bans(ListBansRequest::default()).await;
        assert_eq!(listed.expect("a page").into_inner().bans, [ban]);
        world.end().await;
    })
    .await;
}
