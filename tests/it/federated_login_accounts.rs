//! Sign-in at a provider: the account that it creates, finds or updates.

use countersign::grpc::proto::*;
use serde_json::{Value, json};
use tonic::Code;

use crate::federated_login::{arrived, complete, users_and_sessions};
use crate::support::calls::complete_request;
use crate::support::federated::wish;
use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::Provider;
use crate::support::{World, on_each_engine, reason};

#[tokio::test]
async fn if_the_first_account_is_federated_no_account_becomes_administrator() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, _) = world.arrive("ann").await;
        assert_eq!(user.role, "USER");
        assert_eq!(world.register("local@example.com").await.role, "USER");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_email_address_of_another_account_is_refused_and_the_accounts_are_not_linked() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let local = world.register("ANN@example.org").await;
        let (begun, callback) = arrived(&world, "ann").await;
        let status = complete(&world, complete_request(&begun, &callback))
            .await
            .expect_err("in use");
        assert_eq!(
            reason(&status),
            (Code::AlreadyExists, "EMAIL_IN_USE".to_owned())
        );
        assert_eq!(
            (
                users_and_sessions(engine).await,
                engine.number("SELECT COUNT(*) FROM identities").await
            ),
            ((1, 0), 0)
        );
        assert_eq!(
            world
                .login("ann@example.org")
                .await
                .user
                .expect("a user")
                .id,
            local.id
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn the_next_login_updates_the_account_with_what_the_provider_says() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        world.register("held@example.com").await;
        let login = async |changes: Value| {
            let arrival = world.arrive_at(&provider, |nonce| {
                let mut claims = provider.claims("ann-1", nonce, world.clock.now().secs());
                for (name, value) in changes.as_object().expect("an object") {
                    claims[name] = value.clone();
                }
                tokens("an-access-token", "a-refresh-token", &signed(&claims)).to_string()
            });
            arrival.await.expect("signed in")
        };
        let (first, session, new_user) = login(json!({})).await;
        assert!(new_user && first.email_verified);
        assert_eq!(world.verify(&session.access_token).await.claims.expect("active").email, "ann-1@example.net");

        let (second, _, new_user) =
            login(json!({ "name": "Ann B.", "email": "Ann.B@Example.net", "picture": "https://example.net/ann.png" })).await;
        assert_eq!((&second.id, new_user, second.name.as_str()), (&first.id, false, "Ann B."));
        assert_eq!((second.email.as_str(), second.email_verified), ("ann.b@example.net", true));
        assert_eq!(second.avatar_url, "https://example.net/ann.png");
        assert_eq!(world.verify(&session.access_token).await.claims.expect("active").email, "ann.b@example.net");

        let (third, ..) = login(json!({ "email": "held@example.com" })).await;
        assert_eq!((&third.id, third.email.as_str()), (&first.id, "ann.b@example.net"), "another account's address stays out");
        world.end().await;
    })
    .await;
}

/// Signs in with this `email_verified`, as `sub` with the address `sub@example.net`.
async fn arrive(
    world: &World<'_>,
    provider: &Hostile,
    sub: &str,
    email_verified: Value,
) -> (User, TokenPair) {
    let arrival = world.arrive_at(provider, |nonce| {
        let mut claims = provider.claims(sub, nonce, world.clock.now().secs());
        claims["email_verified"] = email_verified;
        tokens("an-access-token", "a-refresh-token", &signed(&claims)).to_string()
    });
    let (user, tokens, _) = arrival.await.expect("signed in");
    (user, tokens)
}

/// The account's address and the identity's.
async fn addresses(world: &World<'_>, session: &TokenPair) -> String {
    let both =
        "{{LIBRECHAT_USER_EMAIL}}|{{LIBRECHAT_USER_EMAILVERIFIED}}|{{LIBRECHAT_OPENID_USER_EMAIL}}";
    let wish = wish(&session.access_token, Sink::Text, &[("both", both)]);
    let mut values = world.resolve(wish).await.expect("resolved");
    values.remove("both").expect("the value")
}

#[tokio::test]
async fn an_address_that_the_provider_does_not_call_verified_is_not_the_accounts() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for (sub, said) in [
            ("ann", json!(false)),
            ("bob", json!(null)),
            ("cid", json!("false")),
        ] {
            let (user, session) = arrive(&world, &provider, sub, said).await;
            assert_eq!((user.email.as_str(), user.email_verified), ("", false));
            let claims = world
                .verify(&session.access_token)
                .await
                .claims
                .expect("active");
            assert_eq!((claims.email.as_str(), claims.email_verified), ("", false));
            assert_eq!(
                addresses(&world, &session).await,
                format!("|false|{sub}@example.net")
            );
            let owner = world.register(&format!("{sub}@example.net")).await;
            assert_ne!(owner.id, user.id, "it reserves nothing");
        }
        // The provider verified it in the end, but somebody else has it by now.
        let (ann, session) = arrive(&world, &provider, "ann", json!(true)).await;
        assert_eq!(ann.email, "");
        assert_eq!(addresses(&world, &session).await, "|false|ann@example.net");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_address_stands_in_for_missing_names_only_if_the_provider_calls_it_verified() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for (sub, verified, shown) in [
            ("ann", true, "ann@example.net"),
            ("bob", false, ""),
            ("cid", false, ""),
        ] {
            let arrival = world.arrive_at(&provider, |nonce| {
                let mut claims = provider.claims(sub, nonce, world.clock.now().secs());
                claims["email_verified"] = json!(verified);
                // Claims that state the address as a name are no better.
                let stated = (sub == "cid").then_some("CID@example.net");
                (claims["name"], claims["preferred_username"]) = (json!(stated), json!(stated));
                tokens("an-access-token", "a-refresh-token", &signed(&claims)).to_string()
            });
            let (user, ..) = arrival.await.expect("signed in");
            assert_eq!((&*user.username, &*user.name), (shown, shown), "{sub}");
        }
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn an_address_is_the_accounts_for_as_long_as_the_provider_calls_it_verified() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (user, session) = arrive(&world, &provider, "ann", json!(true)).await;
        assert_eq!(user.email, "ann@example.net");
        assert_eq!(
            addresses(&world, &session).await,
            "ann@example.net|true|ann@example.net"
        );
        let (same, later) = arrive(&world, &provider, "ann", json!(false)).await;
        assert_eq!(
            (&same.id, same.email.as_str(), same.email_verified),
            (&user.id, "", false)
        );
        for session in [session, later] {
            assert_eq!(addresses(&world, &session).await, "|false|ann@example.net");
        }
        world.register("ann@example.net").await;
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn if_the_provider_is_trusted_with_addresses_every_one_counts_as_verified() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let trusted = [("OPENID_EMAIL_TRUSTED", "true")];
        let world = World::trusting(engine, &provider.issuer, &trusted).await;
        let (user, session) = arrive(&world, &provider, "ann", json!(null)).await;
        assert_eq!(
            (user.email.as_str(), user.email_verified),
            ("ann@example.net", true)
        );
        assert_eq!(
            addresses(&world, &session).await,
            "ann@example.net|true|ann@example.net"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_session_keeps_how_and_when_the_user_authenticated_at_the_provider() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let now = world.clock.now().secs();
        let login = async |said: Value| {
            let arrival = world.arrive_at(&provider, |nonce| {
                let mut claims = provider.claims("ann", nonce, now);
                let claims_of = claims.as_object_mut().expect("an object");
                claims_of.extend(said.as_object().expect("an object").clone());
                tokens("an-access-token", "a-refresh-token", &signed(&claims)).to_string()
            });
            arrival.await.expect("signed in").1
        };
        let said =
            json!({ "auth_time": now - 3600, "amr": ["pwd", "otp"], "acr": "urn:example:gold" });
        let session = login(said).await;
        let next = world
            .refresh(&session.refresh_token)
            .await
            .expect("refreshed");
        for token in [session.access_token, next.access_token] {
            let claims = world.verify(&token).await.claims.expect("active");
            assert_eq!(claims.auth_time.expect("a time").seconds, now - 3600);
            assert_eq!(claims.amr, ["fed", "pwd", "otp"]);
            assert_eq!(claims.acr, "urn:example:gold");
        }
        for said in [json!({}), json!({ "auth_time": now + 30 })] {
            let claims = world.verify(&login(said).await.access_token).await.claims;
            let claims = claims.expect("active");
            assert_eq!(
                claims.auth_time.expect("a time").seconds,
                now,
                "not in the future"
            );
            assert_eq!(
                (claims.amr, claims.acr.as_str()),
                (vec!["fed".to_owned()], "")
            );
        }
        world.end().await;
    })
    .await;
}
