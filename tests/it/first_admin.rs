//! The first administrator: the first user who registers, or the holder of the bootstrap token.

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::Code;

use crate::accounts::{USERS, is, refused, register};
use crate::support::calls::register_request;
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine};

const BOOTSTRAP: &str = "a-bootstrap-token-of-the-tests";

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
async fn of_parallel_registrations_with_one_address_exactly_one_succeeds() {
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
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
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
async fn the_bootstrap_token_works_once_although_registration_is_closed() {
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
