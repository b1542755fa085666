//! How many sign-ins an address may try, and how many the service takes at once.

use std::thread::available_parallelism;
use std::time::Duration;

use countersign::grpc::proto::*;
use futures_util::future::join_all;
use serde_json::json;
use tonic::Code;

use crate::login::{WRONG, from, refused};
use crate::support::calls::{PASSWORD, client_at, fields, login_request, retry_after};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

/// The number of addresses of a range whose logins were counted.
const COUNTED: &str =
    "SELECT COUNT(*) FROM limits WHERE name = 'login' AND target LIKE '198.51.100.%'";

/// How many logins may wait for a core.
const QUEUE: usize = 64;

/// Tries to sign in from each of these addresses, and says which attempts the limit refused.
async fn limited(world: &World<'_>, addresses: &[&str]) -> Vec<bool> {
    let mut limited = Vec::new();
    for address in addresses {
        let status = refused(world, from(address, "nobody@example.com", WRONG)).await;
        limited.push(reason(&status).1 == "LIMIT_EXCEEDED");
    }
    limited
}

#[tokio::test]
async fn an_ipv6_64_is_one_address_and_a_mapped_ipv4_address_is_ipv4() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("LOGIN_MAX", "2"), ("LOGIN_WINDOW", "5")]).await;
        let six = [
            "2001:db8:0:1::1",
            "[2001:db8:0:1:ffff::2]:443",
            "2001:db8:0:1::3",
            "2001:db8:0:2::1",
        ];
        assert_eq!(limited(&world, &six).await, [false, false, true, false]);
        let four = [
            "203.0.113.9",
            "::ffff:203.0.113.9",
            "203.0.113.9:8080",
            "::ffff:cb00:7109",
            "203.0.113.10",
        ];
        assert_eq!(
            limited(&world, &four).await,
            [false, false, true, true, false]
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn successful_and_failed_logins_count_until_the_window_ends() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("LOGIN_MAX", "3"), ("LOGIN_WINDOW", "5")]).await;
        world.register("ann@example.com").await;
        refused(&world, from("not an address", "ann@example.com", WRONG)).await;
        world.login("ann@example.com").await;
        refused(&world, login_request("ann@example.com", WRONG)).await;
        world.clock.advance(Duration::from_secs(100));
        world.login("ann@example.com").await;
        let status = refused(&world, login_request("ann@example.com", PASSWORD)).await;
        assert_eq!(
            reason(&status),
            (Code::ResourceExhausted, "LIMIT_EXCEEDED".to_owned())
        );
        assert_eq!(retry_after(&status), Some(Duration::from_secs(200)));
        world.clock.advance(Duration::from_secs(200));
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn beginning_a_federated_login_counts_as_an_attempt() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[("LOGIN_MAX", "2")]).await;
        world.begin_federated_login().await;
        refused(&world, login_request("ann@example.com", WRONG)).await;
        let request = BeginFederatedLoginRequest {
            provider: "openid".to_owned(),
            return_to: "//evil.example".to_owned(),
            client: client_at("203.0.113.7"),
        };
        assert_eq!(
            fields(
                &world
                    .auth()
                    .begin_federated_login(request.clone())
                    .await
                    .expect_err("refused")
            ),
            ["return_to"]
        );
        let request = BeginFederatedLoginRequest {
            return_to: String::new(),
            ..request
        };
        let status = world
            .auth()
            .begin_federated_login(request)
            .await
            .expect_err("refused");
        assert_eq!(
            reason(&status),
            (Code::ResourceExhausted, "LIMIT_EXCEEDED".to_owned())
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn guessing_passwords_gets_the_guessers_address_banned_and_not_the_victim() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("LOGIN_MAX", "2")]).await;
        let (victim, tokens) = world.signed_in("ann@example.com").await;
        for n in 1..=25 {
            let status = refused(
                &world,
                from(&format!("198.51.100.{n}"), "ann@example.com", WRONG),
            )
            .await;
            assert_eq!(reason(&status).1, "CREDENTIALS_WRONG");
        }
        let attack =
            async || reason(&refused(&world, from("192.0.2.66", "ann@example.com", WRONG)).await).1;
        for n in 1..=22 {
            assert_eq!(
                attack().await,
                if n <= 2 {
                    "CREDENTIALS_WRONG"
                } else {
                    "LIMIT_EXCEEDED"
                }
            );
        }
        assert_eq!(attack().await, "BANNED");
        let access = CheckAccessRequest {
            user_id: victim.id,
            ip_address: String::new(),
        };
        assert!(
            world
                .moderation()
                .check_access(access)
                .await
                .expect("an answer")
                .into_inner()
                .allowed
        );
        assert!(world.verify(&tokens.access_token).await.active);
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn logins_beyond_the_queue_are_answered_busy_and_cost_the_store_nothing() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        // A hash that takes longer to compute than the next login takes to arrive.
        let slow = "$argon2id$v=19$m=19456,t=16,p=1$Y291bnRlcnNpZ24gbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        engine.execute(&format!("UPDATE passwords SET hash = '{slow}'")).await;
        let mut logins = Vec::new();
        for n in 1..=250 {
            let mut auth = world.auth();
            let request = from(&format!("198.51.100.{n}"), "ann@example.com", WRONG);
            logins.push(tokio::spawn(async move { auth.login(request).await.expect_err("refused") }));
        }
        assert!(world.verify(&tokens.access_token).await.active);
        let answers = join_all(logins).await.into_iter().map(|status| status.expect("no panic"));
        let (judged, busy): (Vec<_>, Vec<_>) = answers.partition(|status| reason(status).1 == "CREDENTIALS_WRONG");
        assert!(!judged.is_empty() && !busy.is_empty(), "{} judged, {} busy", judged.len(), busy.len());
        let admitted = QUEUE + available_parallelism().expect("cores").get() + judged.len();
        let counted = engine.number(COUNTED).await;
        assert!(counted <= i64::try_from(admitted).expect("few"), "{counted} attempts were counted");
        for status in busy {
            assert_eq!(reason(&status), (Code::ResourceExhausted, "BUSY".to_owned()));
            assert!(retry_after(&status).is_some_and(|wait| !wait.is_zero()));
        }
        assert_eq!(reason(&refused(&world, login_request("ann@example.com", WRONG)).await).1, "CREDENTIALS_WRONG");
        world.end().await;
    })
    .await;
}
