//! The bans that violations cause.

use std::time::Duration;

use countersign::grpc::proto::*;
use tonic::Code;

use crate::support::calls::{PASSWORD, client_at, login_request, patiently};
use crate::support::{World, on_each_engine, reason};

pub(crate) const BANS: &str = "SELECT COUNT(*) FROM bans";

pub(crate) fn violation(user: &User) -> RecordViolationRequest {
    RecordViolationRequest {
        r#type: "message_limit".to_owned(),
        user_id: user.id.clone(),
        ..Default::default()
    }
}

pub(crate) async fn record(
    world: &World<'_>,
    request: RecordViolationRequest,
) -> RecordViolationResponse {
    world
        .moderation()
        .record_violation(request)
        .await
        .expect("recorded")
        .into_inner()
}

/// Records `count` violations one after the other and returns the last answer.
pub(crate) async fn record_many(
    world: &World<'_>,
    user: &User,
    count: usize,
) -> RecordViolationResponse {
    let mut last = RecordViolationResponse::default();
    for _ in 0..count {
        last = record(world, violation(user)).await;
    }
    last
}

async fn login_outcome(world: &World<'_>, email: &str) -> String {
    match patiently(async || world.auth().login(login_request(email, PASSWORD)).await).await {
        Ok(_) => "SIGNED_IN".to_owned(),
        Err(status) => reason(&status).1,
    }
}

async fn inactive(world: &World<'_>, tokens: &TokenPair) -> InactiveReason {
    let verified = world.verify(&tokens.access_token).await;
    assert!(!verified.active && verified.claims.is_none());
    verified.inactive_reason()
}

#[tokio::test]
async fn the_twentieth_point_bans_for_two_hours_and_the_next_ones_do_not() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let before = record_many(&world, &user, 19).await;
        assert_eq!(
            (before.previous_score, before.score, before.bans.len()),
            (18, 19, 0)
        );
        assert!(world.verify(&tokens.access_token).await.active);
        let answer = record(&world, violation(&user)).await;
        let ban = answer.ban.clone().expect("a ban");
        assert_eq!(
            (answer.previous_score, answer.score, answer.bans),
            (19, 20, vec![ban.clone()])
        );
        assert_eq!(
            ban.target,
            Some(BanTarget {
                target: Some(ban_target::Target::UserId(user.id.clone()))
            })
        );
        let ends = world.clock.now().plus(Duration::from_hours(2));
        assert_eq!(
            (
                ban.reason.as_str(),
                ban.expire_time.expect("an end").seconds
            ),
            ("message_limit", ends.secs())
        );
        assert_eq!(inactive(&world, &tokens).await, InactiveReason::Banned);
        let after = record_many(&world, &user, 19).await;
        assert_eq!((after.score, after.bans.len()), (39, 0));
        assert_eq!(
            record(&world, violation(&user)).await.bans.len(),
            1,
            "the next multiple bans again"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_ends_on_time_and_the_next_violation_does_not_renew_it() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[("BAN_DURATION", "1000 * 60 * 10")]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        record(
            &world,
            RecordViolationRequest {
                score: Some(20),
                ..violation(&user)
            },
        )
        .await;
        world.clock.advance(
            Duration::from_mins(10)
                .checked_sub(Duration::from_millis(1))
                .expect("longer"),
        );
        assert_eq!(login_outcome(&world, "ann@example.com").await, "BANNED");
        assert_eq!(inactive(&world, &tokens).await, InactiveReason::Banned);
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(
            inactive(&world, &tokens).await,
            InactiveReason::SessionRevoked,
            "the ban ended the session for good"
        );
        let refused = world
            .refresh(&tokens.refresh_token)
            .await
            .expect_err("ended");
        assert_eq!(
            reason(&refused),
            (Code::Unauthenticated, "SESSION_REVOKED".to_owned())
        );
        let again = world.login("ann@example.com").await.tokens.expect("tokens");
        let answer = record(&world, violation(&user)).await;
        assert_eq!(
            (answer.score, answer.bans.len()),
            (21, 0),
            "the next violation does not ban at once"
        );
        world.restart().await;
        assert!(world.verify(&again.access_token).await.active);
        assert_eq!(login_outcome(&world, "ann@example.com").await, "SIGNED_IN");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_violation_by_user_and_address_scores_and_bans_both() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let at = |address: &str| RecordViolationRequest {
            ip_address: address.to_owned(),
            score: Some(10),
            ..violation(&user)
        };
        record(&world, at("2001:db8::1")).await;
        let answer = record(&world, at("[2001:db8::2]:443")).await;
        let targets: Vec<_> = answer
            .bans
            .iter()
            .filter_map(|ban| ban.target.clone()?.target)
            .collect();
        assert_eq!(
            targets,
            [
                ban_target::Target::UserId(user.id.clone()),
                ban_target::Target::Cidr("2001:db8::/64".to_owned())
            ]
        );
        let login = LoginRequest {
            client: client_at("2001:db8::3"),
            ..login_request("bob@example.com", PASSWORD)
        };
        assert_eq!(
            reason(&world.auth().login(login).await.expect_err("refused")).1,
            "BANNED"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn with_bans_switched_off_scores_grow_and_nobody_is_banned() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("BAN_VIOLATIONS", "false")]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let answer = record(
            &world,
            RecordViolationRequest {
                score: Some(1000),
                ..violation(&user)
            },
        )
        .await;
        assert_eq!(
            (answer.score, answer.ban, answer.bans.len()),
            (1000, None, 0)
        );
        assert!(world.verify(&tokens.access_token).await.active);
        assert_eq!(login_outcome(&world, "ann@example.com").await, "SIGNED_IN");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_ban_of_zero_duration_ends_sessions_and_refuses_nobody() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("BAN_DURATION", "0")]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let answer = record(
            &world,
            RecordViolationRequest {
                score: Some(20),
                ..violation(&user)
            },
        )
        .await;
        assert_eq!((answer.ban, engine.number(BANS).await), (None, 0));
        assert_eq!(
            inactive(&world, &tokens).await,
            InactiveReason::SessionRevoked
        );
        assert_eq!(
            reason(
                &world
                    .refresh(&tokens.refresh_token)
                    .await
                    .expect_err("ended")
            )
            .1,
            "SESSION_REVOKED"
        );
        let again = world.login("ann@example.com").await.tokens.expect("tokens");
        assert!(world.verify(&again.access_token).await.active);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn attempts_beyond_the_login_limit_are_violations_of_the_address() {
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[
                ("LOGIN_MAX", "1"),
                ("LOGIN_WINDOW", "1"),
                ("LOGIN_VIOLATION_SCORE", "10"),
            ],
        )
        .await;
        for expected in ["SIGNED_IN", "LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "BANNED"] {
            if expected == "SIGNED_IN" {
                world.register("ann@example.com").await;
            }
            assert_eq!(login_outcome(&world, "ann@example.com").await, expected);
        }
        let bans = world
            .moderation()
            .list_bans(ListBansRequest::default())
            .await
            .expect("bans")
            .into_inner()
            .bans;
        assert_eq!((bans.len(), bans[0].reason.as_str()), (1, "logins"));
        let target = bans[0].target.clone().and_then(|target| target.target);
        assert_eq!(
            target,
            Some(ban_target::Target::IpAddress("203.0.113.7".to_owned()))
        );
        world.clock.advance(Duration::from_hours(2));
        assert_eq!(login_outcome(&world, "ann@example.com").await, "SIGNED_IN");
        world.end().await;
    })
    .await;
}
