//! Ending sessions: one, or all of a user.

use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::sessions_minted::mint;
use crate::support::callers::{Listed, sent_with};
use crate::support::calls::{by_session, by_token, by_user, fields, register_request, registered};
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn users_can_end_their_own_sessions_and_nobody_elses() {
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

/// Ends all sessions of a user except one, and gives their number.
async fn revoke_all(
    world: &World<'_>,
    subject: Option<Subject>,
    except: &str,
) -> Result<i32, Status> {
    let request = RevokeUserSessionsRequest {
        subject,
        except_session_id: except.to_owned(),
    };
    world
        .tokens()
        .revoke_user_sessions(request)
        .await
        .map(|answer| answer.into_inner().revoked_count)
}

#[tokio::test]
async fn all_sessions_of_a_user_end_except_the_one_that_is_named() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, kept) = world.signed_in("ann@example.com").await;
        let (_, others) = world.signed_in("bob@example.com").await;
        let ended = [world.mint(&user.id).await, world.mint(&user.id).await];
        let count = revoke_all(&world, by_token(&kept.access_token), &kept.session_id).await;
        assert_eq!(count.expect("ended"), 2);
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
        let count = revoke_all(&world, by_user(&user.id), &kept.session_id).await;
        assert_eq!(count.expect("none left"), 0);
        // A session of another user cannot be excepted.
        let count = revoke_all(&world, by_user(&user.id), &others.session_id).await;
        assert_eq!(count.expect("ended"), 1);
        assert!(!world.verdict(&kept.access_token).await.0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn ending_all_sessions_needs_a_user_that_exists() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, _) = world.signed_in("ann@example.com").await;
        let refused = async |subject, except: &str| {
            revoke_all(&world, subject, except)
                .await
                .expect_err("refused")
        };
        assert_eq!(
            fields(&refused(by_user(&user.id), "mine").await),
            ["except_session_id"]
        );
        assert_eq!(fields(&refused(None, "").await), ["subject"]);
        assert_eq!(
            reason(&refused(by_user(&"0".repeat(24)), "").await),
            (Code::NotFound, "USER_NOT_FOUND".to_owned())
        );
        world.end().await;
    })
    .await;
}

/// A backend that signs users in, and one that has the permissions ending in `any`.
fn chat_and_admin() -> Listed {
    Listed::new(&[
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
    ])
}

/// A new user, with a session that the caller minted.
async fn minted(world: &World<'_>, caller: &str) -> (User, TokenPair) {
    let answer = world
        .auth()
        .register(sent_with(caller, register_request("ann@example.com")))
        .await
        .expect("registered");
    let user = registered(answer);
    let answer = world
        .tokens()
        .mint_session(sent_with(caller, mint(&user.id, "")))
        .await
        .expect("minted");
    (user, answer.into_inner().tokens.expect("tokens"))
}

fn assert_not_allowed<T>(answer: Result<T, Status>) {
    assert_eq!(
        reason(&answer.map(drop).expect_err("not allowed")),
        (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
    );
}

#[tokio::test]
async fn listing_and_ending_sessions_needs_the_users_token_or_an_any_permission() {
    let file = chat_and_admin();
    let [chat, admin] = [&file.tokens[0], &file.tokens[1]];
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", &file.path())]).await;
        let (user, tokens) = minted(&world, chat).await;
        let mut client = world.tokens();
        let one = |subject| RevokeSessionRequest {
            session_id: tokens.session_id.clone(),
            subject,
        };
        let live = "SELECT COUNT(*) FROM sessions WHERE revoke_time IS NULL";
        for subject in [by_user(&user.id), by_session(&tokens.session_id)] {
            let list = ListSessionsRequest {
                subject: subject.clone(),
                ..Default::default()
            };
            assert_not_allowed(client.list_sessions(sent_with(chat, list.clone())).await);
            client
                .list_sessions(sent_with(admin, list))
                .await
                .expect("allowed");
            let all = RevokeUserSessionsRequest {
                subject: subject.clone(),
                ..Default::default()
            };
            assert_not_allowed(client.revoke_user_sessions(sent_with(chat, all)).await);
            assert_not_allowed(client.revoke_session(sent_with(chat, one(subject))).await);
        }
        assert_not_allowed(client.revoke_session(sent_with(chat, one(None))).await);
        assert_eq!(engine.number(live).await, 1);
        let list = ListSessionsRequest {
            subject: by_token(&tokens.access_token),
            ..Default::default()
        };
        client
            .list_sessions(sent_with(chat, list))
            .await
            .expect("the user's token is there");
        client
            .revoke_session(sent_with(admin, one(None)))
            .await
            .expect("allowed");
        assert_eq!(engine.number(live).await, 0);
        world.end().await;
    })
    .await;
}
