//! Users, found and listed.

use std::time::Duration;

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::accounts::is;
use crate::callers::{CALLERS, signed_in};
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{by_session, by_token, by_user, fields};
use crate::support::{World, on_each_engine};

/// A backend that may look up the user of a token, and one that may look up any user.
fn own_and_any() -> (Backend, Backend) {
    let own = [
        "auth.sign_in",
        "auth.read",
        "token.revoke",
        "token.revoke.any",
    ];
    (
        Backend::new("own", &own),
        Backend::new("any", &["auth.read", "auth.read.any"]),
    )
}

async fn get(world: &World<'_>, caller: &Backend, named: Option<Named>) -> Result<User, Status> {
    world
        .auth()
        .get_user(caller.sends(GetUserRequest { user: named }))
        .await
        .map(|answer| answer.into_inner().user.expect("a user"))
}

async fn assert_not_allowed(world: &World<'_>, caller: &Backend, named: Option<Named>) {
    let status = get(world, caller, named).await.expect_err("refused");
    assert!(is(&status, Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
}

fn by(subject: Option<Subject>) -> Option<Named> {
    subject.map(Named::Subject)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "message fields are optional on the wire"
)]
fn email(text: &str) -> Option<Named> {
    Some(Named::Email(text.to_owned()))
}

#[tokio::test]
async fn a_user_is_found_by_token_id_session_or_email_if_the_caller_may_do_so() {
    let (own, any) = own_and_any();
    let file = CallersFile::new(&[&own, &any]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (user, tokens) = signed_in(&world, &own, "ann@example.com").await;
        assert_eq!(
            get(&world, &own, by(by_token(&tokens.access_token)))
                .await
                .expect("found"),
            user
        );
        for named in [
            by(by_user(&user.id)),
            by(by_session(&tokens.session_id)),
            email("ann@example.com"),
        ] {
            let found = get(&world, &any, named.clone()).await;
            assert_eq!(found.expect("found"), user);
            assert_not_allowed(&world, &own, named).await;
        }
        world
            .tokens()
            .revoke_session(own.sends(RevokeSessionRequest {
                session_id: tokens.session_id.clone(),
                subject: None,
            }))
            .await
            .expect("ended");
        let ended = get(&world, &own, by(by_token(&tokens.access_token)))
            .await
            .expect_err("ended");
        assert!(is(&ended, Code::Unauthenticated, "ACCESS_TOKEN_INVALID"));
        let ended = get(&world, &any, by(by_session(&tokens.session_id)))
            .await
            .expect_err("ended");
        assert!(is(&ended, Code::NotFound, "SESSION_NOT_FOUND"));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_unknown_or_invalid_user_is_not_found() {
    let (own, any) = own_and_any();
    let file = CallersFile::new(&[&own, &any]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        let (unknown_user, unknown_session) = ("000000000000000000000000", "0".repeat(32));
        for (named, expected) in [
            (by(by_user(unknown_user)), "USER_NOT_FOUND"),
            (by(by_session(&unknown_session)), "SESSION_NOT_FOUND"),
            (email("nobody@example.com"), "USER_NOT_FOUND"),
        ] {
            let status = get(&world, &any, named.clone()).await.expect_err("nobody");
            assert!(is(&status, Code::NotFound, expected), "{named:?}");
            assert_not_allowed(&world, &own, named).await;
        }
        for (named, field) in [
            (None, "user"),
            (by(Some(Subject { subject: None })), "subject"),
            (by(by_user("ann")), "subject.user_id"),
            (by(by_session("1")), "subject.session_id"),
            (email("ann"), "email"),
        ] {
            assert_eq!(
                fields(&get(&world, &any, named).await.expect_err("refused")),
                [field]
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn users_are_listed_oldest_first_page_by_page() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(world.register(&format!("user{n}@example.com")).await);
            // Some accounts are created at the same time.
            world.clock.advance(Duration::from_secs(n % 2));
        }
        made.sort_by_key(|user| {
            (
                user.create_time.map(|time| (time.seconds, time.nanos)),
                user.id.clone(),
            )
        });
        let page = async |page_size, page_token: &str| {
            let request = ListUsersRequest {
                page_size,
                page_token: page_token.to_owned(),
            };
            world
                .auth()
                .list_users(request)
                .await
                .map(tonic::Response::into_inner)
        };
        let first = page(2, "").await.expect("a page");
        let second = page(2, &first.next_page_token).await.expect("a page");
        let third = page(2, &second.next_page_token).await.expect("a page");
        assert_eq!(third.next_page_token, "");
        assert_eq!([first.users, second.users, third.users].concat(), made);
        assert_eq!(
            page(5, "").await.expect("a page").next_page_token,
            "",
            "the last page has no next page, even if it is full"
        );
        assert_eq!(page(0, "").await.expect("a page").users, made);
        let good = second.next_page_token;
        let changed = format!(
            "{}{}",
            if good.starts_with('A') { "B" } else { "A" },
            &good[1..]
        );
        for bad in [changed.as_str(), &good[1..], "x", &"A".repeat(10_000)] {
            assert_eq!(
                fields(&page(2, bad).await.expect_err("refused")),
                ["page_token"],
                "{bad:.20}"
            );
        }
        assert_eq!(
            fields(&page(-1, "x").await.expect_err("refused")),
            ["page_size", "page_token"]
        );
        world.end().await;
    })
    .await;
}
