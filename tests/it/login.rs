//! Sign-in with a password.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::calls::{
    PASSWORD, client_at, fields, login_request, patiently, register_request,
};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

pub(crate) const WRONG: &str = "not the password of anybody";

pub(crate) async fn refused(world: &World<'_>, request: LoginRequest) -> Status {
    patiently(async || world.auth().login(request.clone()).await)
        .await
        .expect_err("refused")
}

async fn ban(world: &World<'_>, user: &User, minutes: i64) {
    let request = BanTargetRequest {
        target: Some(ban_target_request::Target::UserId(user.id.clone())),
        duration: Some(prost_types::Duration {
            seconds: minutes * 60,
            nanos: 0,
        }),
        reason: "spam".to_owned(),
        request_id: String::new(),
    };
    world
        .moderation()
        .ban_target(request)
        .await
        .expect("banned");
}

pub(crate) fn from(address: &str, email: &str, password: &str) -> LoginRequest {
    LoginRequest {
        client: client_at(address),
        ..login_request(email, password)
    }
}

/// Everything of an error that a caller sees, except for what changes with the time of day.
async fn seen(world: &World<'_>, email: &str) -> (Code, String, Vec<u8>, Vec<String>) {
    let status = patiently(async || {
        let mut request = Request::new(login_request(email, WRONG));
        request
            .metadata_mut()
            .insert("x-request-id", "the-same".parse().expect("ASCII"));
        world.auth().login(request).await
    })
    .await
    .expect_err("refused");
    let mut names: Vec<String> = status
        .metadata()
        .keys()
        .map(|name| format!("{name:?}"))
        .collect();
    names.sort();
    (
        status.code(),
        status.message().to_owned(),
        status.details().to_vec(),
        names,
    )
}

#[tokio::test]
async fn with_a_wrong_password_all_refusals_are_the_same_bytes() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        world.register("ann@example.com").await;
        let banned = world.register("bob@example.com").await;
        ban(&world, &banned, 60).await;
        let (federated, _) = world.federated_login("cleo").await.expect("signed in");
        let federated = federated.user.expect("a user").email;
        assert_eq!(federated, "cleo@example.org");
        let wrong = seen(&world, "ann@example.com").await;
        assert_eq!(wrong.0, Code::Unauthenticated);
        assert_eq!(seen(&world, "nobody@example.com").await, wrong);
        assert_eq!(seen(&world, "bob@example.com").await, wrong);
        assert_eq!(seen(&world, &federated).await, wrong);
        assert_eq!(
            reason(&refused(&world, login_request("ann@example.com", WRONG)).await).1,
            "CREDENTIALS_WRONG"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_banned_user_with_the_right_password_is_told_when_the_ban_ends() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let user = world.register("ann@example.com").await;
        let until = world.clock.now().plus(Duration::from_hours(1)).secs();
        ban(&world, &user, 60).await;
        let status = refused(&world, login_request("ann@example.com", PASSWORD)).await;
        assert_eq!(
            reason(&status),
            (Code::PermissionDenied, "BANNED".to_owned())
        );
        let told = &status.get_details_error_info().expect("ErrorInfo").metadata["until"];
        assert_eq!(
            told,
            &prost_types::Timestamp {
                seconds: until,
                nanos: 0
            }
            .to_string()
        );
        world.clock.advance(Duration::from_hours(1));
        world.login("ann@example.com").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_login_names_every_field_that_is_wrong() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let status = refused(&world, LoginRequest::default()).await;
        assert_eq!(fields(&status), ["client.ip_address", "email", "password"]);
        let status = refused(
            &world,
            from(
                "1.2.3.4,5.6.7.8",
                "Ann <ann@example.com>",
                &"x".repeat(1025),
            ),
        )
        .await;
        assert_eq!(fields(&status), ["client.ip_address", "email", "password"]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn sign_in_with_a_password_can_be_switched_off() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[("ALLOW_EMAIL_LOGIN", "false")]).await;
        world.register("ann@example.com").await;
        for (email, password) in [
            ("ann@example.com", PASSWORD),
            ("ann@example.com", WRONG),
            ("not an address", ""),
        ] {
            let status = refused(&world, login_request(email, password)).await;
            assert_eq!(
                reason(&status),
                (Code::PermissionDenied, "LOGIN_CLOSED".to_owned())
            );
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_password_in_another_unicode_form_is_the_same_password() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (composed, decomposed) = (
            "crème brûlée für Zoë",
            "cre\u{300}me bru\u{302}le\u{301}e fu\u{308}r Zoe\u{308}",
        );
        for (email, chosen, typed) in [
            ("ann@example.com", decomposed, composed),
            ("bob@example.com", composed, decomposed),
        ] {
            let request = RegisterRequest {
                password: chosen.to_owned(),
                ..register_request(email)
            };
            world.auth().register(request).await.expect("registered");
            world
                .auth()
                .login(login_request(email, typed))
                .await
                .expect("signed in");
            let upper = refused(&world, login_request(email, &typed.to_uppercase())).await;
            assert_eq!(reason(&upper).1, "CREDENTIALS_WRONG");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn whatever_registers_as_a_password_signs_in_whichever_form_it_is_typed_in() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        // 928 bytes composed, 1,228 decomposed.
        let long = |letter: &str| format!("{PASSWORD}{}", letter.repeat(300));
        let (composed, decomposed) = (long("é#"), long("e\u{301}#"));
        let request = RegisterRequest {
            password: decomposed.clone(),
            ..register_request("ann@example.com")
        };
        world.auth().register(request).await.expect("registered");
        for typed in [&decomposed, &composed] {
            let login = login_request("ann@example.com", typed);
            world.auth().login(login).await.expect("signed in");
        }
        let beyond = login_request("ann@example.com", &"é#".repeat(342));
        assert_eq!(fields(&refused(&world, beyond).await), ["password"]);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_damaged_password_hash_matches_no_password_and_uses_no_memory() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        world.register("ann@example.com").await;
        let tail = "Y291bnRlcnNpZ24gbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for hash in [
            String::new(),
            "plain".to_owned(),
            format!("$argon2id$v=19$m=4294967295,t=2,p=1${tail}"),
            format!("$argon2id$v=19$m=19456,t=4294967295,p=1${tail}"),
            "$argon2id$v=19$m=19456,t=2,p=1$Y291bnRlcnNpZ24gbm9ib2R5".to_owned(),
            format!("$scrypt$ln=40,r=8,p=1${tail}"),
        ] {
            assert_eq!(
                engine
                    .execute(&format!("UPDATE passwords SET hash = '{hash}'"))
                    .await,
                1
            );
            let status = refused(&world, login_request("ann@example.com", PASSWORD)).await;
            assert_eq!(
                reason(&status),
                (Code::Unauthenticated, "CREDENTIALS_WRONG".to_owned()),
                "{hash}"
            );
        }
        world.end().await;
    })
    .await;
}
