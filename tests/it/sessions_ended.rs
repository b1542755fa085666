//! Sessions that are ended, one by one or all of a user.

use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::sessions_minted::mint;
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_session, by_token, by_user, fields, register_request};
use crate::support::{World, on_each_engine, reason};

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
