//! Encryption and signing keys: kept, replaced, lost and tampered with.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use countersign::jose::{Algorithm, SigningKey};

use crate::recovery::{directory, files};
use crate::support::process::Process;
use crate::support::{Engine, World, on_each_engine};

const KEYS: &str = "COUNTERSIGN_ENCRYPTION_KEYS";
const OLD: &str = "old:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const NEW: &str = "new:AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=";
const IMPOSTOR: &str = "old:AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI=";

#[tokio::test]
async fn on_sqlite_the_key_file_is_beside_the_database_and_only_its_owner_can_read_it() {
    let engine = Engine::sqlite();
    let world = World::start(&engine, &[]).await;
    let directory = directory(&engine).expect("SQLite");
    for file in files(directory) {
        let mode = fs::metadata(&file.0)
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.0.display());
    }
    let key = fs::read_to_string(directory.join("test.db.key")).expect("a key file");
    assert_eq!(key.trim().len(), 64);
    world.secret(key.trim());
    world.end().await;
}

#[tokio::test]
async fn no_core_file_with_the_keys_can_be_written() {
    let mut id = 0;
    let process = Process::with_log_at(Stdio::null(), |child| id = child.id()).await;
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).expect("limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let numbers: Vec<_> = line.expect("a line").split_whitespace().skip(4).collect();
    assert_eq!(numbers[..2], ["0", "0"]);
    drop(process);
}

#[tokio::test]
async fn without_its_own_key_file_a_database_is_refused_and_not_changed() {
    let engine = Engine::sqlite();
    let mut world = World::start(&engine, &[]).await;
    let (_, tokens) = world.signed_in("ann@example.com").await;
    world.stop().await;
    let directory = directory(&engine).expect("SQLite");
    let key_file = directory.join("test.db.key");
    let key = fs::read(&key_file).expect("a key file");

    fs::remove_file(&key_file).expect("removed");
    let before = files(directory);
    let error = world.refused_start().await;
    assert!(
        error.contains("test.db.key is missing") && error.contains(KEYS),
        "{error}"
    );
    assert_eq!(files(directory), before);

    let foreign = "ab".repeat(32);
    for (content, expected) in [
        (foreign.as_str(), "not those that the data was written with"),
        ("", "64 hexadecimal"),
        ("ab", "64 hex"),
    ] {
        fs::write(&key_file, content).expect("written");
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("set");
        let error = world.refused_start().await;
        assert!(error.contains(expected), "{error}");
        assert_eq!(fs::read_to_string(&key_file).expect("still there"), content);
    }
    fs::write(&key_file, &key).expect("written");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o644)).expect("set");
    let error = world.refused_start().await;
    assert!(error.contains("can be read by others"), "{error}");

    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("set");
    world.resume().await;
    assert!(world.verdict(&tokens.access_token).await.0);
    world.end().await;
}

#[tokio::test]
async fn a_new_key_encrypts_while_the_old_one_still_decrypts() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[(KEYS, OLD)]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        world.stop().await;
        world.set(KEYS, &format!("{NEW},{OLD}"));
        world.resume().await;
        assert!(world.verdict(&tokens.access_token).await.0);
        let next = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("an old key's token");
        let again = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("within its grace time");
        assert_eq!(next.refresh_token, again.refresh_token);
        let third = world
            .refresh(&next.refresh_token)
            .await
            .expect("the new key's token");
        assert!(world.verdict(&third.access_token).await.0);

        world.stop().await;
        for wrong in [NEW, IMPOSTOR, &format!("{NEW},{IMPOSTOR}")] {
            world.set(KEYS, wrong);
            let error = world.refused_start().await;
            assert!(error.contains("key"), "{error}");
            assert!(
                !error.contains("AgIC") && !error.contains("AwMD"),
                "{error}"
            );
        }
        world.set(KEYS, NEW);
        let error = world.refused_start().await;
        assert!(
            error.contains(r#""old""#) && error.contains(KEYS),
            "the missing key is named: {error}"
        );
        world.set(KEYS, &format!("{NEW},{OLD}"));
        world.resume().await;
        world
            .refresh(&third.refresh_token)
            .await
            .expect("nothing was lost");
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_signing_key_that_was_tampered_with_is_refused_at_the_start() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        world.stop().await;
        for column in ["private_key", "public_key"] {
            let good = engine
                .bytes(&format!(
                    "SELECT {column} FROM signing_keys WHERE state = 'active'"
                ))
                .await;
            let middle = good.len() / 2;
            let mut flipped = good.clone();
            flipped[middle] ^= 1;
            for bad in [flipped, good[..middle].to_vec(), Vec::new()] {
                set_bytes(engine, column, &bad).await;
                let error = world.refused_start().await;
                assert!(error.contains("key"), "{column}: {error}");
                assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 2);
            }
            set_bytes(engine, column, &good).await;
        }
        world.resume().await;
        assert!(world.verdict(&tokens.access_token).await.0);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_public_key_inserted_into_the_database_does_not_become_a_signing_key() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        world.stop().await;
        let foreign = SigningKey::from_pkcs8(Algorithm::EdDsa, &SigningKey::generate_pkcs8(Algorithm::EdDsa)).expect("a key");
        let (kid, public) = (foreign.kid(), literal(engine, foreign.verify_key().public()));
        let added = format!(
            "INSERT INTO signing_keys (id, algorithm, public_key, private_key, state, create_time)
            SELECT '{kid}', algorithm, {public}, private_key, 'retired', create_time FROM signing_keys WHERE state = 'active'"
        );
        engine.execute(&added).await;
        let error = world.refused_start().await;
        assert!(error.contains(kid), "{error}");
        engine.execute(&format!("DELETE FROM signing_keys WHERE id = '{kid}'")).await;
        world.resume().await;
        world.end().await;
    })
    .await;
}

fn literal(engine: &Engine, bytes: &[u8]) -> String {
    let hex = hex::encode(bytes);
    if directory(engine).is_some() {
        format!("X'{hex}'")
    } else {
        format!("'\\x{hex}'::bytea")
    }
}

async fn set_bytes(engine: &Engine, column: &str, bytes: &[u8]) {
    let literal = literal(engine, bytes);
    engine
        .execute(&format!(
            "UPDATE signing_keys SET {column} = {literal} WHERE state = 'active'"
        ))
        .await;
}
