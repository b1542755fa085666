//! Accounts: registered, found and listed.

use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::callers::{Backend, CallersFile};
use crate::support::calls::{
    PASSWORD, by_session, by_token, by_user, client_at, fields, login_request, openid_settings,
    patiently, register_request, retry_after,
};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

const BOOTSTRAP: &str = "a-bootstrap-token-of-the-tests";
const USERS: &str = "SELECT COUNT(*) FROM users";

async fn register(channel: &Channel, request: RegisterRequest) -> Result<User, Status> {
    let answer = patiently(async || {
        AuthServiceClient::new(channel.clone())
            .register(request.clone())
            .await
    })
    .await?;
    Ok(answer.into_inner().user.expect("a user"))
}

async fn refused(world: &World<'_>, request: RegisterRequest) -> Status {
    register(&world.channel(), request)
        .await
        .expect_err("refused")
}

fn is(status: &Status, code: Code, expected: &str) -> bool {
    reason(status) == (code, expected.to_owned())
}

fn with_token(email: &str, token: &str) -> RegisterRequest {
    RegisterRequest {
        invite_token: token.to_owned(),
        ..register_request(email)
    }
}

fn admins<'a>(users: impl IntoIterator<Item = &'a User>) -> usize {
    users
        .into_iter()
        .filter(|user| user.role == "ADMIN")
        .count()
}

#[tokio::test]
async fn a_registration_names_every_field_that_is_wrong() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let wrong = RegisterRequest {
            email: "ann@localhost".to_owned(),
            password: "short".to_owned(),
            name: "A".to_owned(),
            username: " ann".to_owned(),
            invite_token: String::new(),
            client: client_at("1.2.3.4,5.6.7.8"),
        };
        let status = refused(&world, wrong).await;
        assert!(
            is(&status, Code::InvalidArgument, "FIELDS_INVALID"),
            "{status:?}"
        );
        assert_eq!(
            fields(&status),
            ["client.ip_address", "email", "name", "password", "username"]
        );
        let status = refused(&world, RegisterRequest::default()).await;
        assert_eq!(
            fields(&status),
            ["client.ip_address", "email", "name", "password"]
        );
        assert_eq!(engine.number(USERS).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn one_address_in_any_form_is_one_account() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("Ann@Bücher.example").await;
        assert_eq!(
            (user.email.as_str(), user.email_verified),
            ("ann@xn--bcher-kva.example", false)
        );
        for same in [
            "ann@bücher.example",
            "ANN@BÜCHER.EXAMPLE",
            "ann@xn--bcher-kva.example",
            "ann@bu\u{308}cher.example",
        ] {
            let status = refused(&world, register_request(same)).await;
            assert!(
                is(&status, Code::AlreadyExists, "EMAIL_IN_USE"),
                "{same}: {status:?}"
            );
            let found = GetUserRequest {
                user: Some(Named::Email(same.to_owned())),
            };
            assert_eq!(
                world
                    .auth()
                    .get_user(found)
                    .await
                    .expect("found")
                    .into_inner()
                    .user
                    .as_ref(),
                Some(&user),
                "{same}"
            );
        }
        assert_eq!(
            world
                .login("ANN@bücher.EXAMPLE")
                .await
                .user
                .expect("a user")
                .id,
            user.id
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_end_users_address_is_required_and_strictly_read() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let at = |client| RegisterRequest {
            client,
            ..register_request("ann@example.com")
        };
        let long = "1".repeat(100_000);
        for bad in [
            "",
            "unknown",
            "01.2.3.4",
            "1.2.3.4,5.6.7.8",
            "1.2.3.4/32",
            " 1.2.3.4",
            "fe80::1%eth0",
            &long,
        ] {
            assert_eq!(
                fields(&refused(&world, at(client_at(bad))).await),
                ["client.ip_address"],
                "{bad:.20}"
            );
        }
        assert_eq!(
            fields(&refused(&world, at(None)).await),
            ["client.ip_address"]
        );
        register(&world.channel(), at(client_at("[2001:db8::7]:443")))
            .await
            .expect("port and brackets are dropped");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn passwords_that_are_guessed_first_are_refused() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REGISTER_MAX", "100")]).await;
        for weak in [
            "password1",
            "qwertyuiop",
            "ann.marlowe",
            "Marlowe@example",
            "countersign",
            "LibreChat1",
            "          ",
        ] {
            let request = RegisterRequest {
                password: weak.to_owned(),
                ..register_request("ann.marlowe@example.com")
            };
            let answer = register(&world.channel(), request).await;
            assert_eq!(
                answer.as_ref().err().map(fields),
                Some(vec!["password".to_owned()]),
                "{weak}"
            );
        }
        let nameless = RegisterRequest {
            password: "password1".to_owned(),
            name: String::new(),
            ..register_request("ann@example.com")
        };
        assert_eq!(
            fields(&refused(&world, nameless).await),
            ["name"],
            "what costs nothing is looked at first"
        );
        let long = RegisterRequest {
            password: "ö#4".repeat(257),
            ..register_request("ann@example.com")
        };
        assert_eq!(fields(&refused(&world, long).await), ["password"]);
        assert_eq!(engine.number(USERS).await, 0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_least_length_is_configured_and_counted_in_characters() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("MIN_PASSWORD_LENGTH", "15")]).await;
        let with = |password: &str| RegisterRequest {
            password: password.to_owned(),
            ..register_request("ann@example.com")
        };
        let status = refused(&world, with("żółw-gęś-łoś-5")).await;
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().expect("BadRequest").field_violations[0].description,
            "must have at least 15 characters"
        );
        register(&world.channel(), with("żółw-gęś-łoś-57"))
            .await
            .expect("registered");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn of_twenty_first_accounts_at_two_replicas_one_is_administrator() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let second = world.another().await.expect("a second replica");
        let channels = [world.channel(), second.channel.clone()];
        let calls = (0..20).map(|n| {
            register(
                &channels[n % 2],
                register_request(&format!("user{n}@example.com")),
            )
        });
        let users: Vec<User> = join_all(calls)
            .await
            .into_iter()
            .map(|user| user.expect("registered"))
            .collect();
        assert_eq!(admins(&users), 1);
        assert!(
            users
                .iter()
                .all(|user| user.role == "ADMIN" || user.role == "USER")
        );
        assert_eq!(world.register("late@example.com").await.role, "USER");
        second.stop().await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn of_parallel_registrations_of_one_address_one_succeeds_and_the_others_cost_it_nothing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let channel = world.channel();
        let (made, refused): (Vec<_>, Vec<_>) =
            join_all((0..8).map(|_| register(&channel, register_request("ann@example.com"))))
                .await
                .into_iter()
                .partition(Result::is_ok);
        assert_eq!((made.len(), admins(made.iter().flatten())), (1, 1));
        assert!(
            refused
                .iter()
                .all(|answer| answer.as_ref().is_err_and(|status| is(
                    status,
                    Code::AlreadyExists,
                    "EMAIL_IN_USE"
                )))
        );
        assert_eq!(engine.number(USERS).await, 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn after_a_first_account_from_a_provider_nobody_becomes_administrator_by_being_first() {
    let provider = Provider::start(json!({})).await;
    let settings = openid_settings(&provider);
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    on_each_engine(async |engine| {
        let world = World::start(engine, &settings).await;
        let (signed_in, _) = world.federated_login("bob").await.expect("signed in");
        assert_eq!(signed_in.user.expect("a user").role, "USER");
        assert_eq!(world.register("ann@example.com").await.role, "USER");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn with_a_bootstrap_token_only_its_holder_becomes_administrator_and_only_once() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("COUNTERSIGN_BOOTSTRAP_TOKEN", BOOTSTRAP)]).await;
        world.secret(BOOTSTRAP);
        assert_eq!(world.register("eve@example.com").await.role, "USER");
        let wrong = with_token("mallory@example.com", "another-token-of-the-tests");
        assert_eq!(
            register(&world.channel(), wrong)
                .await
                .expect("registered")
                .role,
            "USER"
        );
        let channel = world.channel();
        let requests = (0..20).map(|n| {
            with_token(
                &format!("user{n}@example.com"),
                if n % 2 == 0 { BOOTSTRAP } else { "" },
            )
        });
        let users: Vec<User> = join_all(requests.map(|request| register(&channel, request)))
            .await
            .into_iter()
            .map(|user| user.expect("registered"))
            .collect();
        assert_eq!(
            (
                admins(users.iter().step_by(2)),
                admins(users.iter().skip(1).step_by(2))
            ),
            (1, 0)
        );
        assert_eq!(
            register(&channel, with_token("late@example.com", BOOTSTRAP))
                .await
                .expect("registered")
                .role,
            "USER"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_bootstrap_token_set_later_makes_no_second_administrator() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        assert_eq!(world.register("ann@example.com").await.role, "ADMIN");
        world.end().await;
        let world = World::start(engine, &[("COUNTERSIGN_BOOTSTRAP_TOKEN", BOOTSTRAP)]).await;
        let user = register(&world.channel(), with_token("bob@example.com", BOOTSTRAP))
            .await
            .expect("registered");
        assert_eq!(user.role, "USER");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn closed_registration_opens_to_the_bootstrap_token_once() {
    on_each_engine(async |engine| {
        let world = World::start(
            engine,
            &[
                ("ALLOW_REGISTRATION", "false"),
                ("COUNTERSIGN_BOOTSTRAP_TOKEN", BOOTSTRAP),
            ],
        )
        .await;
        let closed = async |request| {
            is(
                &refused(&world, request).await,
                Code::PermissionDenied,
                "REGISTRATION_CLOSED",
            )
        };
        assert!(closed(register_request("eve@example.com")).await);
        assert!(closed(with_token("eve@example.com", "another-token-of-the-tests")).await);
        let ann = register(&world.channel(), with_token("ann@example.com", BOOTSTRAP))
            .await
            .expect("registered");
        assert_eq!(ann.role, "ADMIN");
        assert!(closed(with_token("bob@example.com", BOOTSTRAP)).await);
        assert_eq!(engine.number(USERS).await, 1);
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn registrations_of_an_address_are_limited_until_the_window_ends() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("REGISTER_MAX", "2"), ("REGISTER_WINDOW", "10")]).await;
        for _ in 0..5 {
            refused(
                &world,
                RegisterRequest {
                    password: String::new(),
                    ..register_request("ann@example.com")
                },
            )
            .await;
        }
        world.register("ann@example.com").await;
        world.clock.advance(Duration::from_mins(1));
        let status = refused(&world, register_request("ann@example.com")).await;
        assert!(
            is(&status, Code::AlreadyExists, "EMAIL_IN_USE"),
            "{status:?}"
        );
        let limited = async |wait| {
            let status = refused(&world, register_request("bob@example.com")).await;
            assert!(
                is(&status, Code::ResourceExhausted, "LIMIT_EXCEEDED"),
                "{status:?}"
            );
            assert_eq!(retry_after(&status), Some(Duration::from_secs(wait)));
        };
        limited(540).await;
        let elsewhere = RegisterRequest {
            client: client_at("203.0.113.8"),
            ..register_request("cleo@example.com")
        };
        register(&world.channel(), elsewhere)
            .await
            .expect("another address is not limited");
        world.clock.advance(Duration::from_secs(539));
        limited(1).await;
        world.clock.advance(Duration::from_secs(1));
        world.register("bob@example.com").await;
        world.end().await;
    })
    .await;
}

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
