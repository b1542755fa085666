//! Users, found and listed.

use std::time::Duration;

use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use tonic::Code;

use crate::accounts::is;
use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{
    PASSWORD, by_session, by_token, by_user, fields, login_request, register_request,
};
use crate::support::{World, on_each_engine};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_user_is_found_by_every_name_that_the_caller_may_use() {
    let own = Backend::new(
        "own",
        &[
            "auth.sign_in",
            "auth.read",
            "token.revoke",
            "token.revoke.any",
        ],
    );
    let any = Backend::new("any", &["auth.read", "auth.read.any"]);
    let file = CallersFile::new(&[&own, &any]);
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_CALLERS", file.path())]).await;
        world.secret(PASSWORD);
        world
            .auth()
            .register(own.sends(register_request("ann@example.com")))
            .await
            .expect("registered");
        let answer = world
            .auth()
            .login(own.sends(login_request("ann@example.com", PASSWORD)))
            .await
            .expect("signed in")
            .into_inner();
        let login_response::Result::SignedIn(SignedIn { user, tokens }) =
            answer.result.expect("a result");
        let (user, tokens) = (user.expect("a user"), tokens.expect("tokens"));
        world.keep_secret(&tokens);
        let get = async |caller: &Backend, named: Option<Named>| {
            world
                .auth()
                .get_user(caller.sends(GetUserRequest { user: named }))
                .await
                .map(|answer| answer.into_inner().user.expect("a user"))
        };
        let by = |subject: Option<Subject>| subject.map(Named::Subject);
        let email = |text: &str| Some(Named::Email(text.to_owned()));
        assert_eq!(
            get(&own, by(by_token(&tokens.access_token)))
                .await
                .expect("found"),
            user
        );
        let (unknown_user, unknown_session) = ("000000000000000000000000", "0".repeat(32));
        for named in [
            by(by_user(&user.id)),
            by(by_session(&tokens.session_id)),
            email("ann@example.com"),
        ] {
            assert_eq!(get(&any, named.clone()).await.expect("found"), user);
            assert!(is(
                &get(&own, named).await.expect_err("refused"),
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED"
            ));
        }
        for (named, expected) in [
            (by(by_user(unknown_user)), "USER_NOT_FOUND"),
            (by(by_session(&unknown_session)), "SESSION_NOT_FOUND"),
            (email("nobody@example.com"), "USER_NOT_FOUND"),
        ] {
            assert!(
                is(
                    &get(&any, named.clone()).await.expect_err("nobody"),
                    Code::NotFound,
                    expected
                ),
                "{named:?}"
            );
            assert!(is(
                &get(&own, named).await.expect_err("refused"),
                Code::PermissionDenied,
                "CALLER_NOT_ALLOWED"
            ));
        }
        for (named, field) in [
            (None, "user"),
            (by(Some(Subject { subject: None })), "subject"),
            (by(by_user("ann")), "subject.user_id"),
            (by(by_session("1")), "subject.session_id"),
            (email("ann"), "email"),
        ] {
            assert_eq!(
                fields(&get(&any, named).await.expect_err("refused")),
                [field]
            );
        }
        world
            .tokens()
            .revoke_session(own.sends(RevokeSessionRequest {
                session_id: tokens.session_id.clone(),
                subject: None,
            }))
            .await
            .expect("ended");
        let ended = get(&own, by(by_token(&tokens.access_token)))
            .await
            .expect_err("ended");
        assert!(is(&ended, Code::Unauthenticated, "ACCESS_TOKEN_INVALID"));
        assert!(is(
            &get(&any, by(by_session(&tokens.session_id)))
                .await
                .expect_err("ended"),
            Code::NotFound,
            "SESSION_NOT_FOUND"
        ));
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_list_of_users_pages_from_the_oldest_to_the_newest() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(world.register(&format!("user{n}@example.com")).await);
            // Two accounts share a moment.
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
            "nothing follows a full last page"
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
