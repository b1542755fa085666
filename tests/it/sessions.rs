//! Sessions opened on a caller's word, listed and ended.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use tonic::{Code, Status};

use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_session, by_token, by_user, fields, register_request};
use crate::support::{World, client, on_each_engine, reason};

fn mint(user_id: &str, request_id: &str) -> MintSessionRequest {
    MintSessionRequest {
        user_id: user_id.to_owned(),
        request_id: request_id.to_owned(),
        client: client(),
        ttl: None,
    }
}

async fn minted(world: &World<'_>, request: MintSessionRequest) -> Result<TokenPair, Status> {
    let tokens = world
        .tokens()
        .mint_session(request)
        .await?
        .into_inner()
        .tokens
        .expect("tokens");
    world.keep_secret(&tokens);
    Ok(tokens)
}

async fn refused(world: &World<'_>, request: MintSessionRequest) -> (Code, String, Vec<String>) {
    let status = world
        .tokens()
        .mint_session(request)
        .await
        .expect_err("must be refused");
    let (code, reason) = reason(&status);
    (code, reason, fields(&status))
}

async fn list(world: &World<'_>, request: ListSessionsRequest) -> ListSessionsResponse {
    world
        .tokens()
        .list_sessions(request)
        .await
        .expect("listed")
        .into_inner()
}

#[tokio::test]
async fn a_minted_session_says_that_it_stands_on_a_callers_word() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let answer = world
            .tokens()
            .mint_session(mint(&user.id, ""))
            .await
            .expect("minted")
            .into_inner();
        assert_eq!(answer.user, Some(user));
        let tokens = answer.tokens.expect("tokens");
        assert_eq!(tokens.token_type, "Bearer");
        let claims = world
            .verify(&tokens.access_token)
            .await
            .claims
            .expect("active");
        assert_eq!(
            (claims.amr, claims.provider),
            (vec!["caller".to_owned()], "caller".to_owned())
        );
        world
            .refresh(&tokens.refresh_token)
            .await
            .expect("refreshes as any other");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_is_minted_for_a_user_in_good_standing_only() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let unknown = (Code::NotFound, "USER_NOT_FOUND".to_owned(), vec![]);
        assert_eq!(refused(&world, mint(&"0".repeat(24), "")).await, unknown);
        for id in [
            "",
            "ann@example.com",
            &user.id.to_uppercase(),
            &user.id[1..],
        ] {
            let invalid = (
                Code::InvalidArgument,
                "FIELDS_INVALID".to_owned(),
                vec!["user_id".to_owned()],
            );
            assert_eq!(refused(&world, mint(id, "")).await, invalid, "{id}");
        }
        let banned = (Code::PermissionDenied, "BANNED".to_owned(), vec![]);
        for target in [
            ban_target_request::Target::IpAddress(crate::support::calls::ADDRESS.to_owned()),
            ban_target_request::Target::UserId(user.id.clone()),
        ] {
            let request = BanTargetRequest {
                target: Some(target),
                reason: "spam".to_owned(),
                ..Default::default()
            };
            let ban = world
                .moderation()
                .ban_target(request)
                .await
                .expect("banned")
                .into_inner()
                .ban
                .expect("a ban");
            assert_eq!(refused(&world, mint(&user.id, "")).await, banned);
            world
                .moderation()
                .lift_ban(LiftBanRequest { ban_id: ban.id })
                .await
                .expect("lifted");
            minted(&world, mint(&user.id, ""))
                .await
                .expect("in good standing again");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_lasts_a_second_at_least_and_no_longer_than_configured() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REFRESH_TOKEN_EXPIRY", "1000 * 60 * 60")]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let lasting = |seconds, nanos| MintSessionRequest {
            ttl: Some(prost_types::Duration { seconds, nanos }),
            ..mint(&user.id, "")
        };
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, 999_999_999), (0, -1)] {
            let invalid = (
                Code::InvalidArgument,
                "FIELDS_INVALID".to_owned(),
                vec!["ttl".to_owned()],
            );
            assert_eq!(
                refused(&world, lasting(seconds, nanos)).await,
                invalid,
                "{seconds}.{nanos}"
            );
        }
        let now = world.clock.now().secs();
        for (seconds, lasts) in [
            (1, 1),
            (90, 90),
            (3600, 3600),
            (3601, 3600),
            (i64::MAX, 3600),
        ] {
            let tokens = minted(&world, lasting(seconds, 0)).await.expect("minted");
            assert_eq!(
                tokens.refresh_expire_time.map(|end| end.seconds - now),
                Some(lasts),
                "{seconds}"
            );
            assert!(world.verdict(&tokens.access_token).await.0, "{seconds}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_repeated_request_gives_the_same_session_again() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let (other, _) = world.signed_in("bob@example.com").await;
        let pairs = join_all((0..20).map(|_| minted(&world, mint(&user.id, "request-1")))).await;
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|pair| pair.expect("minted"))
            .collect();
        let same: BTreeSet<_> = pairs
            .iter()
            .map(|pair| (&pair.session_id, &pair.refresh_token))
            .collect();
        assert_eq!(same.len(), 1);
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM sessions WHERE request_id = 'request-1'")
                .await,
            1
        );

        let next = world
            .refresh(&pairs[0].refresh_token)
            .await
            .expect("the next pair");
        let again = minted(&world, mint(&user.id, "request-1"))
            .await
            .expect("the current pair");
        assert_eq!(
            (&again.session_id, &again.refresh_token),
            (&next.session_id, &next.refresh_token)
        );
        let another = minted(&world, mint(&user.id, "request-2"))
            .await
            .expect("minted");
        assert_ne!(another.session_id, next.session_id);

        let invalid = (
            Code::InvalidArgument,
            "FIELDS_INVALID".to_owned(),
            vec!["request_id".to_owned()],
        );
        assert_eq!(refused(&world, mint(&other.id, "request-1")).await, invalid);
        for id in ["two words", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(refused(&world, mint(&user.id, id)).await, invalid, "{id}");
        }
        let over = (Code::Unauthenticated, "SESSION_REVOKED".to_owned(), vec![]);
        world.revoke(&next.session_id).await;
        assert_eq!(refused(&world, mint(&user.id, "request-1")).await, over);
        world.clock.advance(Duration::from_hours(7 * 24));
        assert_eq!(refused(&world, mint(&user.id, "request-2")).await, over);
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn live_sessions_are_listed_newest_first_page_by_page() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, first) = world.signed_in("ann@example.com").await;
        let (other, others) = world.signed_in("bob@example.com").await;
        let mut made = vec![first.session_id.clone()];
        for turn in 0..6 {
            // Some of them in one instant, so that the order cannot be by time alone.
            world.clock.advance(Duration::from_secs((turn + 1) % 2));
            made.push(world.mint(&user.id).await.session_id);
        }
        let ended = world.mint(&user.id).await;
        world.revoke(&ended.session_id).await;

        let page = |size, token: &str| ListSessionsRequest {
            subject: by_token(&first.access_token),
            page_size: size,
            page_token: token.to_owned(),
        };
        let whole = list(&world, page(0, "")).await;
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
            let answer = list(&world, page(3, &token)).await;
            assert_eq!(answer.sessions.len(), size);
            paged.extend(answer.sessions);
            token = answer.next_page_token;
        }
        assert_eq!((paged, token.as_str()), (whole.sessions.clone(), ""));
        let by_id = ListSessionsRequest {
            subject: by_user(&user.id),
            ..Default::default()
        };
        assert_eq!(list(&world, by_id).await.sessions, whole.sessions);

        let token = list(&world, page(1, "")).await.next_page_token;
        let foreign = ListSessionsRequest {
            subject: by_token(&others.access_token),
            page_token: token,
            ..Default::default()
        };
        let status = world
            .tokens()
            .list_sessions(foreign)
            .await
            .expect_err("another user's list");
        assert_eq!(fields(&status), ["page_token"]);
        let status = world
            .tokens()
            .list_sessions(page(-1, "x"))
            .await
            .expect_err("two mistakes");
        assert_eq!(
            (reason(&status).1.as_str(), fields(&status)),
            (
                "FIELDS_INVALID",
                vec!["page_size".to_owned(), "page_token".to_owned()]
            )
        );
        let of_other = ListSessionsRequest {
            subject: by_user(&other.id),
            ..Default::default()
        };
        assert_eq!(list(&world, of_other).await.sessions.len(), 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn users_end_their_own_sessions_and_nobody_elses() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, mine) = world.signed_in("ann@example.com").await;
        let (_, others) = world.signed_in("bob@example.com").await;
        let second = world.mint(&user.id).await;
        let revoke = async |session_id: &str, subject| {
            let request = RevokeSessionRequest {
                session_id: session_id.to_owned(),
                subject,
            };
            world.tokens().revoke_session(request).await.map(drop)
        };
        for subject in [
            by_token(&mine.access_token),
            by_user(&user.id),
            by_session(&mine.session_id),
        ] {
            revoke(&others.session_id, subject.clone())
                .await
                .expect("no effect and no error");
            revoke(&"0".repeat(32), subject)
                .await
                .expect("an unknown session is no error");
        }
        assert!(world.verdict(&others.access_token).await.0);
        for _ in 0..2 {
            revoke(&second.session_id, by_token(&mine.access_token))
                .await
                .expect("ended");
        }
        assert!(!world.verdict(&second.access_token).await.0);
        assert!(world.verdict(&mine.access_token).await.0);

        let status = revoke(&mine.session_id, by_token(&second.access_token))
            .await
            .expect_err("a dead token ends nothing");
        assert_eq!(
            reason(&status),
            (Code::Unauthenticated, "ACCESS_TOKEN_INVALID".to_owned())
        );
        let status = revoke("mine", None).await.expect_err("no id");
        assert_eq!(fields(&status), ["session_id"]);
        revoke(&"0".repeat(32), None)
            .await
            .expect("an unknown session is no error");
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn all_sessions_of_a_user_end_but_the_one_that_is_named() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, kept) = world.signed_in("ann@example.com").await;
        let (_, others) = world.signed_in("bob@example.com").await;
        let ended = [world.mint(&user.id).await, world.mint(&user.id).await];
        let revoke = async |subject, except: &str| {
            let request = RevokeUserSessionsRequest {
                subject,
                except_session_id: except.to_owned(),
            };
            world
                .tokens()
                .revoke_user_sessions(request)
                .await
                .map(|answer| answer.into_inner().revoked_count)
        };
        assert_eq!(
            revoke(by_token(&kept.access_token), &kept.session_id)
                .await
                .expect("ended"),
            2
        );
        for pair in &ended {
            assert_eq!(
                world.verdict(&pair.access_token).await,
                (false, InactiveReason::SessionRevoked)
            );
            assert_eq!(
                reason(&world.refresh(&pair.refresh_token).await.expect_err("ended")).1,
                "SESSION_REVOKED"
            );
        }
        for pair in [&kept, &others] {
            assert!(world.verdict(&pair.access_token).await.0);
        }
        assert_eq!(
            revoke(by_user(&user.id), &kept.session_id)
                .await
                .expect("none left"),
            0
        );
        // Another user's session is no exception.
        assert_eq!(
            revoke(by_user(&user.id), &others.session_id)
                .await
                .expect("ended"),
            1
        );
        assert!(!world.verdict(&kept.access_token).await.0);
        assert_eq!(
            fields(&revoke(by_user(&user.id), "mine").await.expect_err("no id")),
            ["except_session_id"]
        );
        assert_eq!(
            fields(&revoke(None, "").await.expect_err("whose?")),
            ["subject"]
        );
        let status = revoke(by_user(&"0".repeat(24)), "")
            .await
            .expect_err("nobody");
        assert_eq!(
            reason(&status),
            (Code::NotFound, "USER_NOT_FOUND".to_owned())
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn only_a_user_present_or_the_any_permission_ends_and_lists_sessions() {
    let file = Listed::new(&[
        (
            "chat",
            &["auth.sign_in", "token.mint", "token.read", "token.revoke"],
        ),
        (
            "admin",
            &[
                "token.read",
                "token.read.any",
                "token.revoke",
                "token.revoke.any",
            ],
        ),
    ]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", &file.path())]).await;
        let registered = world
            .auth()
            .register(sent_with(
                &file.tokens[0],
                register_request("ann@example.com"),
            ))
            .await
            .expect("registered");
        let user = registered.into_inner().user.expect("a user");
        let answer = world
            .tokens()
            .mint_session(sent_with(&file.tokens[0], mint(&user.id, "")))
            .await
            .expect("minted");
        let tokens = answer.into_inner().tokens.expect("tokens");
        let denied = |status: Status| {
            assert_eq!(
                reason(&status),
                (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
            );
        };
        let mut client = world.tokens();
        for subject in [by_user(&user.id), by_session(&tokens.session_id)] {
            let request = ListSessionsRequest {
                subject: subject.clone(),
                ..Default::default()
            };
            denied(
                client
                    .list_sessions(sent_with(&file.tokens[0], request.clone()))
                    .await
                    .expect_err("not allowed"),
            );
            client
                .list_sessions(sent_with(&file.tokens[1], request))
                .await
                .expect("allowed");
            let request = RevokeUserSessionsRequest {
                subject: subject.clone(),
                ..Default::default()
            };
            denied(
                client
                    .revoke_user_sessions(sent_with(&file.tokens[0], request))
                    .await
                    .expect_err("not allowed"),
            );
            let request = RevokeSessionRequest {
                session_id: tokens.session_id.clone(),
                subject,
            };
            denied(
                client
                    .revoke_session(sent_with(&file.tokens[0], request))
                    .await
                    .expect_err("not allowed"),
            );
        }
        let request = |subject| RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject,
        };
        denied(
            client
                .revoke_session(sent_with(&file.tokens[0], request(None)))
                .await
                .expect_err("not allowed"),
        );
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM sessions WHERE revoke_time IS NULL")
                .await,
            1
        );
        let list = ListSessionsRequest {
            subject: by_token(&tokens.access_token),
            ..Default::default()
        };
        client
            .list_sessions(sent_with(&file.tokens[0], list))
            .await
            .expect("the user is present");
        client
            .revoke_session(sent_with(&file.tokens[1], request(None)))
            .await
            .expect("allowed");
        assert_eq!(
            engine
                .number("SELECT COUNT(*) FROM sessions WHERE revoke_time IS NULL")
                .await,
            0
        );
        world.end().await;
    })
    .await;
}
