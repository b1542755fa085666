//! Provider tokens in the database can be decrypted only in their own place.

use std::time::Duration;

use countersign::grpc::proto::*;
use serde_json::json;
use tonic::Code;

use crate::support::provider::Provider;
use crate::support::{Engine, World, on_each_engine, reason};

/// Sets columns of Ann's row; `other.` in `set` means Bob's row.
async fn tamper(engine: &Engine, ann: &TokenPair, bob: &TokenPair, set: &str) {
    let bobs = |column: &str| {
        format!(
            "(SELECT o.{column} FROM federated_tokens o WHERE o.session_id = '{}')",
            bob.session_id
        )
    };
    let set = [
        "access_token",
        "id_token",
        "refresh_token",
        "claims",
        "identity_id",
    ]
    .iter()
    .fold(set.to_owned(), |set, column| {
        set.replace(&format!("other.{column}"), &bobs(column))
    });
    let changed = engine
        .execute(&format!(
            "UPDATE federated_tokens SET {set} WHERE session_id = '{}'",
            ann.session_id
        ))
        .await;
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn encrypted_tokens_can_be_decrypted_only_in_their_own_row_and_column() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, bob) = world.arrive("bob").await;
        let of_bob = world.bearer(&bob.access_token).await.expect("resolved");
        for set in [
            "access_token = other.access_token",
            "id_token = other.id_token",
            "refresh_token = other.refresh_token",
            "claims = other.claims",
            "identity_id = other.identity_id",
            "access_token = other.access_token, id_token = other.id_token, refresh_token = other.refresh_token, claims = other.claims,
                identity_id = other.identity_id",
            "access_token = id_token",
            "access_token = refresh_token, refresh_token = access_token",
        ] {
            let (_, ann) = world.arrive("ann").await;
            tamper(engine, &ann, &bob, set).await;
            world.clock.advance(Duration::from_secs(2));
            let status = world.bearer(&ann.access_token).await.expect_err(set);
            assert_eq!(reason(&status), (Code::Internal, "INTERNAL".to_owned()), "{set}");
            let told = format!("{status:?}{}", String::from_utf8_lossy(status.details()));
            assert!(!told.contains(&of_bob) && !told.contains("federated_tokens"), "{told}");
            world.auth().logout(LogoutRequest { refresh_token: ann.refresh_token.clone() }).await.expect("a session can always be ended");
            assert!(!world.verify(&ann.access_token).await.active);
        }
        assert_eq!(world.bearer(&bob.access_token).await.expect("untouched"), of_bob);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn encrypted_tokens_can_be_decrypted_only_for_their_own_account_and_provider() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        let (_, session) = world.arrive("ann").await;
        let token = world.bearer(&session.access_token).await.expect("resolved");
        for (table, column, own) in [
            ("identities", "subject", "ann"),
            ("identities", "issuer", &provider.issuer),
            ("federated_tokens", "provider", "openid"),
        ] {
            let set = async |value: &str| {
                engine
                    .execute(&format!("UPDATE {table} SET {column} = '{value}'"))
                    .await
            };
            assert_eq!(set("another").await, 1);
            world.clock.advance(Duration::from_secs(2));
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "INTERNAL",
                "{column}"
            );
            assert_eq!(set(own).await, 1);
            assert_eq!(
                world
                    .bearer(&session.access_token)
                    .await
                    .expect("as before"),
                token
            );
        }
        world.end().await;
    })
    .await;
}
