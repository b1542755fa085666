//! Bans: what they refuse, for how long, and how they are made, listed and lifted.

use std::time::Duration;

use countersign::grpc::proto::ban_target_request::Target;
use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::browser::sign_in;
use crate::support::calls::{
    ADDRESS, PASSWORD, by_session, by_token, by_user, client_at, complete_request, fields,
    login_request, openid_settings, register_request,
};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

fn user(id: &str) -> Target {
    Target::UserId(id.to_owned())
}

fn address(text: &str) -> Target {
    Target::IpAddress(text.to_owned())
}

fn range(text: &str) -> Target {
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
    };
    Ok(world
        .moderation()
        .ban_target(request)
        .await?
        .into_inner()
        .ban
        .expect("a ban"))
}

async fn ban(world: &World<'_>, target: Target, minutes: i64) -> Ban {
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

async fn access(
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

async fn free(world: &World<'_>, user_id: &str, ip_address: &str) -> bool {
    let answer = access(world, user_id, ip_address).await.expect("an answer");
    assert_eq!(answer.allowed, answer.ban.is_none());
    answer.allowed
}

fn banned<T>(answer: Result<T, Status>) -> bool {
    answer.is_err_and(|status| reason(&status) == (Code::PermissionDenied, "BANNED".to_owned()))
}

fn resolve(subject: Option<Subject>) -> ResolvePlaceholdersRequest {
    ResolvePlaceholdersRequest {
        subject,
        sink: Sink::Header.into(),
        entries: [("X-User".to_owned(), "{{LIBRECHAT_USER_ID}}".to_owned())].into(),
        ..Default::default()
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_banned_users_every_way_in_says_so_and_the_sessions_are_gone_afterwards() {
    let provider = Provider::start(json!({})).await;
    let settings = openid_settings(&provider);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    on_each_engine(async |engine| {
        let world = World::start(engine, &settings).await;
        let (signed_in, _) = world.federated_login("bob").await.expect("signed in");
        let (bob, tokens) = (
            signed_in.user.expect("a user"),
            signed_in.tokens.expect("tokens"),
        );
        let (_, anns) = world.signed_in("ann@example.com").await;
        world
            .federation()
            .resolve_placeholders(resolve(by_token(&tokens.access_token)))
            .await
            .expect("resolved");
        ban(&world, user(&bob.id), 10).await;

        assert_eq!(
            world.verify(&tokens.access_token).await.inactive_reason(),
            InactiveReason::Banned
        );
        assert!(banned(world.refresh(&tokens.refresh_token).await));
        for subject in [
            by_token(&tokens.access_token),
            by_session(&tokens.session_id),
            by_user(&bob.id),
        ] {
            assert!(banned(
                world
                    .federation()
                    .resolve_placeholders(resolve(subject))
                    .await
            ));
        }
        let who = GetUserRequest {
            user: Some(get_user_request::User::Subject(
                by_token(&tokens.access_token).expect("a subject"),
            )),
        };
        assert!(banned(world.auth().get_user(who).await));
        assert!(banned(world.federated_login("bob").await));
        assert!(banned(
            world
                .tokens()
                .mint_session(MintSessionRequest {
                    user_id: bob.id.clone(),
                    ..Default::default()
                })
                .await
        ));
        assert_eq!(
            engine.number("SELECT COUNT(*) FROM federated_tokens").await,
            0,
            "the provider's tokens are forgotten"
        );
        assert!(
            world.verify(&anns.access_token).await.active,
            "another user's session goes on"
        );

        world.clock.advance(Duration::from_mins(10));
        assert_eq!(
            world.verify(&tokens.access_token).await.inactive_reason(),
            InactiveReason::SessionRevoked
        );
        assert!(!banned(world.refresh(&tokens.refresh_token).await));
        world.federated_login("bob").await.expect("signed in");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_lifted_ban_is_over_at_once_and_another_one_is_not() {
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
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn an_addresss_ban_refuses_wherever_the_address_is_given_and_ends_no_session() {
    let provider = Provider::start(json!({})).await;
    let settings = openid_settings(&provider);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    on_each_engine(async |engine| {
        let world = World::start(engine, &settings).await;
        let (ann, tokens) = world.signed_in("ann@example.com").await;
        let begun = world.begin_federated_login().await;
        let callback = sign_in(&begun.authorization_url, "bob").await;
        ban(&world, address(ADDRESS), 10).await;
        assert!(banned(
            world
                .auth()
                .register(register_request("bob@example.com"))
                .await
        ));
        assert!(banned(
            world
                .auth()
                .login(login_request("ann@example.com", PASSWORD))
                .await
        ));
        let another = BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            return_to: String::new(),
            client: client_at(ADDRESS),
        };
        assert!(banned(world.auth().begin_federated_login(another).await));
        assert!(banned(
            world
                .auth()
                .complete_federated_login(complete_request(&begun, &callback))
                .await
        ));
        assert!(banned(world.refresh(&tokens.refresh_token).await));
        let mint = MintSessionRequest {
            user_id: ann.id.clone(),
            client: client_at(ADDRESS),
            ..Default::default()
        };
        assert!(banned(world.tokens().mint_session(mint).await));

        assert!(world.verify(&tokens.access_token).await.active);
        let elsewhere = RefreshSessionRequest {
            refresh_token: tokens.refresh_token.clone(),
            client: client_at("203.0.113.8"),
        };
        let renewed = world
            .tokens()
            .refresh_session(elsewhere)
            .await
            .expect("the refused one was not consumed")
            .into_inner();
        world.keep_secret(renewed.tokens.as_ref().expect("tokens"));
        assert!(
            free(&world, &ann.id, "203.0.113.8").await && !free(&world, &ann.id, ADDRESS).await
        );
        world.clock.advance(Duration::from_mins(10));
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_range_is_banned_from_its_first_to_its_last_address() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        ban(&world, range("198.51.100.128/25"), 10).await;
        ban(&world, address("2001:db8:0:1::7"), 10).await;
        for (text, is_free) in [
            ("198.51.100.127", true),
            ("198.51.100.128", false),
            ("::ffff:198.51.100.255", false),
            ("198.51.100.200:8080", false),
            ("198.51.101.0", true),
            ("2001:db8:0:1:ffff::1", false),
            ("2001:db8:0:2::7", true),
        ] {
            assert_eq!(free(&world, "", text).await, is_free, "{text}");
        }
        let login = LoginRequest {
            client: client_at("198.51.100.130"),
            ..login_request("ann@example.com", PASSWORD)
        };
        assert!(banned(world.auth().login(login).await));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn of_several_bans_access_names_the_one_that_lasts_longest() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let ann = world.register("ann@example.com").await;
        assert!(free(&world, &ann.id, "203.0.113.9").await);
        let of_user = ban(&world, user(&ann.id), 10).await;
        let of_range = ban(&world, range("203.0.113.0/24"), 20).await;
        let found = async |id: &str, ip: &str| access(&world, id, ip).await.expect("an answer").ban;
        assert_eq!(found(&ann.id, "").await, Some(of_user.clone()));
        assert_eq!(found("", "203.0.113.9").await.as_ref(), Some(&of_range));
        assert_eq!(
            found(&ann.id, "203.0.113.9").await.as_ref(),
            Some(&of_range)
        );
        assert_eq!(found(&ann.id, "192.0.2.1").await, Some(of_user));
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(found(&ann.id, "").await, None);
        assert_eq!(found(&ann.id, "203.0.113.9").await, Some(of_range));
        assert_eq!(
            fields(&access(&world, "", "").await.expect_err("nobody named")),
            ["user_id"]
        );
        assert_eq!(
            fields(&access(&world, "ann", "unknown").await.expect_err("bad")),
            ["ip_address", "user_id"]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_bad_ban_names_all_that_is_wrong_and_bans_nobody() {
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
            };
            let status = world
                .moderation()
                .ban_target(request)
                .await
                .expect_err("refused");
            assert_eq!(
                fields(&status),
                ["duration", "reason", "target"],
                "{duration:?}"
            );
        }
        assert_eq!(engine.number("SELECT COUNT(*) FROM bans").await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_list_of_bans_pages_through_what_is_in_force_from_the_newest_on() {
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
            "the oldest one is over"
        );
        world.end().await;
    })
    .await;
}
