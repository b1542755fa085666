//! Provider tokens in the database can be decrypted only in their own place.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::grpc::proto::*;
use countersign::secret::{Keyring, Purpose, RootKey};
use serde_json::json;
use tonic::Code;

use crate::support::hostile::{Hostile, signed, tokens};
use crate::support::provider::Provider;
use crate::support::{Engine, World, on_each_engine, reason};

const KEY: [u8; 32] = *b"the root key of an older version";

const FORGET_SEALING: &str = "DELETE FROM markers WHERE name = 'tokens_sealed'";

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
            assert_eq!(reason(&status), (Code::FailedPrecondition, "VALUE_MISSING".to_owned()), "{set}");
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
                "VALUE_MISSING",
                "{column}"
            );
            assert_eq!(set(own).await, 1);
            world.clock.advance(Duration::from_secs(2));
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

#[tokio::test]
async fn tokens_are_refused_if_their_times_scopes_version_or_state_were_changed() {
    let provider = Provider::start(json!({})).await;
    on_each_engine(async |engine| {
        let world = World::trusting(engine, &provider.issuer, &[]).await;
        for set in [
            "access_expire_time = access_expire_time + 3600000",
            "id_expire_time = id_expire_time + 3600000",
            "update_time = update_time + 3600000",
            "scopes = scopes || ' admin'",
            "version = version + 1",
            "state = 'RECONNECT_REQUIRED'",
            "state = 'REFRESHING'",
            "state = 'BACKOFF', retry_time = 0",
            "state_seal = access_token",
            "state_seal = NULL",
        ] {
            let (_, session) = world.arrive("ann").await;
            let change = format!(
                "UPDATE federated_tokens SET {set} WHERE session_id = '{}'",
                session.session_id
            );
            assert_eq!(engine.execute(&change).await, 1, "{set}");
            assert_eq!(
                world.no_bearer(&session.access_token).await,
                "VALUE_MISSING",
                "{set}"
            );
        }
        world.end().await;
    })
    .await;
}

/// Sets a column to a value as an earlier version sealed it: not bound to times, scopes and state.
fn sealed_the_old_way(engine: &Engine, column: &str, owner: &[&str], value: &str) -> String {
    let key = RootKey::new("test", KEY).expect("a key");
    let context = [&["federated_tokens", column], owner].concat();
    let ring = Keyring::new(key, Vec::new());
    let sealed = ring.seal(Purpose::FederatedTokens, &context, value.as_bytes());
    let literal = match engine {
        Engine::Sqlite { .. } => format!("X'{}'", hex::encode(sealed)),
        Engine::Postgres { .. } => format!("decode('{}', 'hex')", hex::encode(sealed)),
    };
    format!("{column} = {literal}")
}

/// Signs a user in and writes the tokens as an earlier version would have. `owner` is the subject
/// that they are sealed for.
async fn arrive_long_ago(
    world: &World<'_>,
    provider: &Hostile,
    subject: &str,
    owner: &str,
) -> (TokenPair, String) {
    let (engine, now) = (world.engine, world.clock.now().secs());
    let (access, refresh) = (format!("access-{subject}"), format!("refresh-{subject}"));
    let login = |nonce: &str| {
        let id_token = signed(&provider.claims(subject, nonce, now));
        tokens(&access, &refresh, &id_token).to_string()
    };
    let (user, session, _) = world.arrive_at(provider, login).await.expect("signed in");
    let identity = format!("SELECT id FROM identities WHERE user_id = '{}'", user.id);
    let (id, identity) = (session.session_id.as_str(), engine.text(&identity).await);
    let owner = [id, &user.id, &identity, &provider.issuer, owner, "openid"];
    let seal = |column, value| sealed_the_old_way(engine, column, &owner, value);
    let set = [
        seal("access_token", &access),
        seal("refresh_token", &refresh),
        seal("claims", "{}"),
        "id_token = NULL, id_expire_time = NULL, state_seal = NULL".to_owned(),
    ];
    let set = set.join(", ");
    let old = format!("UPDATE federated_tokens SET {set} WHERE session_id = '{id}'");
    assert_eq!(engine.execute(&old).await, 1);
    // The earlier version did not note that it sealed tokens anew.
    engine.execute(FORGET_SEALING).await;
    world.clock.advance(Duration::from_secs(2));
    // Only a start accepts it.
    assert_eq!(
        world.no_bearer(&session.access_token).await,
        "VALUE_MISSING"
    );
    (session, old)
}

#[tokio::test]
async fn tokens_that_an_earlier_version_sealed_are_sealed_anew_at_the_start() {
    let provider = Hostile::start().await;
    on_each_engine(async |engine| {
        let keys = format!("test:{}", STANDARD.encode(KEY));
        let keys = [("COUNTERSIGN_ENCRYPTION_KEYS", keys.as_str())];
        let mut world = World::trusting(engine, &provider.issuer, &keys).await;
        let (ann, old) = arrive_long_ago(&world, &provider, "ann", "ann").await;
        let (bob, _) = arrive_long_ago(&world, &provider, "bob", "another").await;
        let (eve, _) = arrive_long_ago(&world, &provider, "eve", "eve").await;
        let unknown = format!(
            "UPDATE federated_tokens SET state = 'UNKNOWN' WHERE session_id = '{}'",
            eve.session_id
        );
        assert_eq!(engine.execute(&unknown).await, 1);
        world.restart().await;
        assert_eq!(world.no_bearer(&eve.access_token).await, "VALUE_MISSING");
        let token = world.bearer(&ann.access_token).await;
        assert_eq!(token.expect("sealed anew"), "access-ann");
        assert_eq!(world.no_bearer(&bob.access_token).await, "VALUE_MISSING");
        let unsealed = "SELECT COUNT(*) FROM federated_tokens WHERE state_seal IS NULL";
        assert_eq!(engine.number(unsealed).await, 2);
        let renewed =
            json!({ "access_token": "access-2", "token_type": "Bearer", "expires_in": 300 });
        provider.answer(200, &renewed.to_string());
        world.clock.advance(Duration::from_secs(280));
        let token = world.bearer(&ann.access_token).await;
        assert_eq!(token.expect("renewed"), "access-2");
        let asked = provider.token_requests().pop().expect("asked");
        assert!(asked.contains("refresh_token=refresh-ann"));

        // Somebody puts the old row back and prolongs it.
        let prolonged = old.replace(
            " WHERE ",
            ", access_expire_time = access_expire_time + 3600000 WHERE ",
        );
        assert_eq!(engine.execute(&prolonged).await, 1);
        world.restart().await;
        assert_eq!(world.no_bearer(&ann.access_token).await, "VALUE_MISSING");
        assert_eq!(engine.number(unsealed).await, 3);
        world.end().await;
    })
    .await;
}
