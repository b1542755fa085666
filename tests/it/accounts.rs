//! Registration: which fields it needs, and how often an address may register.

use std::time::Duration;

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::get_user_request::User as Named;
use countersign::grpc::proto::*;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::calls::{
    client_at, fields, patiently, register_request, registered, retry_after,
};
use crate::support::{World, on_each_engine, reason};

pub(crate) const USERS: &str = "SELECT COUNT(*) FROM users";

pub(crate) async fn register(channel: &Channel, request: RegisterRequest) -> Result<User, Status> {
    let answer = patiently(async || {
        AuthServiceClient::new(channel.clone())
            .register(request.clone())
            .await
    })
    .await?;
    Ok(registered(answer))
}

pub(crate) async fn refused(world: &World<'_>, request: RegisterRequest) -> Status {
    register(&world.channel(), request)
        .await
        .expect_err("refused")
}

pub(crate) fn is(status: &Status, code: Code, expected: &str) -> bool {
    reason(status) == (code, expected.to_owned())
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
async fn all_spellings_of_an_email_address_are_one_account() {
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
async fn the_ip_address_of_the_end_user_is_required_and_parsed_strictly() {
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
async fn passwords_that_are_easy_to_guess_are_refused() {
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
            "the cheap checks come first"
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
async fn the_minimum_length_is_configured_and_counted_in_characters() {
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
