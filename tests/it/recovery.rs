//! Restarts, keys and stores that are not what they were.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use countersign::grpc::proto::*;
use countersign::jose::SigningKey;
use futures_util::future::join_all;
use tonic::Code;

use crate::support::calls::by_user;
use crate::support::{Engine, World, on_each_engine, reason};

const KEYS: &str = "COUNTERSIGN_ENCRYPTION_KEYS";
const OLD: &str = "old:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";
const NEW: &str = "new:AgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICE=";
const IMPOSTOR: &str = "old:AwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISI=";

fn directory(engine: &Engine) -> Option<&Path> {
    match engine {
        Engine::Sqlite { directory } => Some(directory.path()),
        Engine::Postgres { .. } => None,
    }
}

/// All files of a directory with their bytes.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries
        .map(|path| (path.clone(), fs::read(path).expect("read")))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_restart_changes_nothing_for_anyone() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        let (banned, of_banned) = world.signed_in("bob@example.com").await;
        let spent = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the next pair");
        let target = Some(ban_target_request::Target::UserId(banned.id));
        let request = BanTargetRequest {
            target,
            reason: "spam".to_owned(),
            ..Default::default()
        };
        world
            .moderation()
            .ban_target(request)
            .await
            .expect("banned");

        world.restart().await;
        assert!(world.verdict(&tokens.access_token).await.0);
        assert_eq!(
            world.verdict(&of_banned.access_token).await,
            (false, InactiveReason::Banned)
        );
        let again = world
            .refresh(&tokens.refresh_token)
            .await
            .expect("the grace time goes on");
        assert_eq!(again.refresh_token, spent.refresh_token);
        let next = world
            .refresh(&spent.refresh_token)
            .await
            .expect("the next pair");
        assert!(world.verdict(&next.access_token).await.0);
        world.login("ann@example.com").await;
        assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 1);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn sqlite_keeps_its_key_beside_the_database_for_its_owner_only() {
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
async fn without_its_own_key_file_a_database_is_refused_and_left_alone() {
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
async fn a_new_key_takes_over_while_the_old_one_still_reads() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_at_once_on_an_empty_database_agree() {
    for _ in 0..5 {
        on_each_engine(async |engine| {
            let mut world = World::absent(engine);
            let starts = (0..3).map(|_| Box::pin(world.another()));
            let replicas: Vec<_> = join_all(starts)
                .await
                .into_iter()
                .map(|started| started.expect("starts"))
                .collect();
            assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 1);
            assert_eq!(
                engine
                    .number("SELECT COUNT(*) FROM markers WHERE name = 'epoch'")
                    .await,
                1
            );
            for replica in replicas {
                replica.stop().await;
            }
            world.resume().await;
            world.signed_in("ann@example.com").await;
            world.end().await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        let (_, tokens) = world.signed_in("ann@example.com").await;
        world.stop().await;
        engine
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 999, 'of the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
            )
            .await;
        let error = world.refused_start().await;
        assert!(error.contains("999"), "{error}");
        assert_eq!(engine.number("SELECT COUNT(*) FROM users").await, 1);
        engine.execute("DELETE FROM _sqlx_migrations WHERE version = 999").await;
        world.resume().await;
        assert!(world.verdict(&tokens.access_token).await.0);
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
                .bytes(&format!("SELECT {column} FROM signing_keys"))
                .await;
            let middle = good.len() / 2;
            let mut flipped = good.clone();
            flipped[middle] ^= 1;
            for bad in [flipped, good[..middle].to_vec(), Vec::new()] {
                set_bytes(engine, column, &bad).await;
                let error = world.refused_start().await;
                assert!(error.contains("key"), "{column}: {error}");
                assert_eq!(engine.number("SELECT COUNT(*) FROM signing_keys").await, 1);
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
async fn a_public_half_that_was_put_into_the_database_is_no_signing_key() {
    on_each_engine(async |engine| {
        let mut world = World::start(engine, &[]).await;
        world.stop().await;
        let foreign = SigningKey::from_pkcs8(&SigningKey::generate_pkcs8()).expect("a key");
        let (kid, public) = (foreign.kid(), literal(engine, foreign.verify_key().public()));
        let added = format!(
            "INSERT INTO signing_keys (id, algorithm, public_key, private_key, state, create_time)
            SELECT '{kid}', algorithm, {public}, private_key, 'retired', create_time FROM signing_keys"
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
        .execute(&format!("UPDATE signing_keys SET {column} = {literal}"))
        .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_is_an_error_and_no_panic() {
    on_each_engine(async |engine| {
        let world = World::start(engine, &[]).await;
        let (user, tokens) = world.signed_in("ann@example.com").await;
        let session = &tokens.session_id;
        let update = async |set: &str| {
            assert_eq!(
                engine
                    .execute(&format!("UPDATE sessions SET revoke_time = NULL, {set}"))
                    .await,
                1
            );
        };
        for generation in [i64::MIN + 1, i64::MAX] {
            update(&format!("generation = {generation}")).await;
            reason(
                &world
                    .refresh(&tokens.refresh_token)
                    .await
                    .expect_err("an impossible generation"),
            );
        }
        update("generation = 1, id = 'x'").await;
        let request = ListSessionsRequest {
            subject: by_user(&user.id),
            ..Default::default()
        };
        let status = world
            .tokens()
            .list_sessions(request)
            .await
            .expect_err("an impossible id");
        assert_eq!(reason(&status), (Code::Internal, "INTERNAL".to_owned()));
        update(&format!("id = '{session}'")).await;
        world
            .refresh(&tokens.refresh_token)
            .await
            .expect("all is well again");
        update("salt = substr(salt, 1, 3)").await;
        assert_eq!(
            reason(
                &world
                    .refresh(&tokens.refresh_token)
                    .await
                    .expect_err("no such MAC")
            )
            .1,
            "REFRESH_TOKEN_INVALID"
        );
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_at_the_start() {
    on_each_engine(async |engine| {
        let mut world = World::absent(engine);
        match engine {
            Engine::Sqlite { .. } => world.set("DATABASE_URL", "sqlite:/nonexistent/test.db"),
            Engine::Postgres { name, .. } => world.set(
                "DATABASE_URL",
                &engine.url().replace(name.as_str(), "countersign_absent"),
            ),
        }
        let error = world.refused_start().await;
        assert!(
            error.contains("/nonexistent/test.db") || error.contains("does not exist"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_database_copied_back_says_so_and_goes_on() {
    let engine = Engine::sqlite();
    let mut world = World::start(&engine, &[]).await;
    let (_, first) = world.signed_in("ann@example.com").await;
    world.stop().await;
    let copy = files(directory(&engine).expect("SQLite"));
    world.resume().await;
    let second = world
        .refresh(&first.refresh_token)
        .await
        .expect("the next pair");
    let (_, later) = world.signed_in("bob@example.com").await;
    world.stop().await;
    for (path, content) in copy {
        fs::write(path, content).expect("copied back");
    }
    world.resume().await;
    let status = world
        .refresh(&second.refresh_token)
        .await
        .expect_err("the store was set back");
    assert_eq!(
        reason(&status),
        (Code::FailedPrecondition, "STORE_ROLLED_BACK".to_owned())
    );
    assert_eq!(
        world.verdict(&later.access_token).await,
        (false, InactiveReason::SessionRevoked)
    );
    assert_eq!(
        reason(
            &world
                .refresh(&later.refresh_token)
                .await
                .expect_err("unknown")
        )
        .1,
        "REFRESH_TOKEN_INVALID"
    );
    assert!(world.verdict(&second.access_token).await.0);
    world
        .refresh(&first.refresh_token)
        .await
        .expect("current again");
    world.end().await;
}
