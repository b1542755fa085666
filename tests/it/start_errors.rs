//! What the binary says if its database cannot be opened: what is wrong, where, and what to do.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, raw_sql};

use crate::recovery::directory;
use crate::support::World;
use crate::support::binary::{Binary, without_warnings};
use crate::support::engine::{Engine, KEYS};

/// A database password that must not appear.
const PASSWORD: &str = "can:ary";

/// What `serve` says of the reason why it does not start.
fn failure(binary: &Binary, variables: &[(&str, &str)]) -> String {
    let listen = [("COUNTERSIGN_LISTEN", "127.0.0.1:0")];
    let variables: Vec<_> = listen.iter().chain(variables).copied().collect();
    let printed = binary.run(&["serve"], &variables);
    assert!(!printed.succeeded, "{}", printed.out);
    let (_, reason) = printed
        .error
        .split_once("countersign cannot start:\n")
        .expect("a reason");
    for part in [PASSWORD, "can%3Aary", "ary", " at line "] {
        assert!(!printed.error.contains(part), "{}", printed.error);
    }
    without_warnings(reason).trim_end().to_owned()
}

fn of_postgres(url: &str) -> String {
    failure(
        &Binary::new(),
        &[
            ("DATABASE_URL", url),
            ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS),
            ("COUNTERSIGN_INSECURE_OPEN", "true"),
        ],
    )
}

#[test]
fn a_postgres_that_is_down_is_named_with_its_address_and_the_cause() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    assert_eq!(
        of_postgres(&format!("postgres://u:{PASSWORD}@{address}/c")),
        format!(
            "PostgreSQL at {address} cannot be reached: Connection refused (os error 111); check that it runs there, and the host and port in DATABASE_URL"
        )
    );
}

#[test]
fn a_postgres_that_accepts_connections_and_says_nothing_does_not_hold_up_the_start() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    assert_eq!(
        of_postgres(&format!("postgres://u:{PASSWORD}@{address}/c")),
        format!(
            "PostgreSQL at {address} does not answer; check that it runs there, and the host and port in DATABASE_URL"
        )
    );
}

#[test]
fn a_password_that_needs_encoding_is_told_apart_from_a_wrong_host() {
    for url in [
        "postgres://u:can@a/ry@127.0.0.1/c",
        "postgres://u:1/can@ary@127.0.0.1/c",
        "postgres://u:can/ary@127.0.0.1/c",
        "postgres://u:can#ary@127.0.0.1/c",
        "postgres://u:can?ary@127.0.0.1/c",
    ] {
        assert_eq!(
            of_postgres(url),
            "DATABASE_URL must be one URL such as postgres://user:password@host/database, in which special characters of user and password are percent-encoded: @ as %40, / as %2F, # as %23, ? as %3F",
            "{url}"
        );
    }
}

#[tokio::test]
async fn what_postgres_refuses_is_told_with_what_to_do() {
    let Ok(server) = std::env::var("COUNTERSIGN_TEST_POSTGRES") else {
        return;
    };
    let engine = Engine::postgres(server.clone()).await;
    let Engine::Postgres { name, .. } = &engine else {
        return;
    };
    let mut url: url::Url = engine.url().parse().expect("a URL");
    let place = format!(
        "PostgreSQL at {}:{}",
        url.host_str().expect("a host"),
        url.port().unwrap_or(5432)
    );
    let user = url.username().to_owned();

    url.set_path("countersign_absent");
    assert_eq!(
        of_postgres(url.as_str()),
        format!(
            "{place} says: database \"countersign_absent\" does not exist; create it (CREATE DATABASE \"countersign_absent\" OWNER \"{user}\"), or correct the name in DATABASE_URL"
        )
    );

    url.set_path(name);
    let limited = format!("{name}_limited");
    url.set_username(&limited).expect("a user");
    url.set_password(Some(PASSWORD)).expect("a password");
    assert_eq!(
        of_postgres(url.as_str()),
        format!(
            "{place} says: role \"{limited}\" does not exist; check user and password in DATABASE_URL, where special characters are percent-encoded (@ is %40, / is %2F)"
        )
    );

    engine
        .execute(&format!(
            "CREATE ROLE {limited} LOGIN PASSWORD '{PASSWORD}'"
        ))
        .await;
    let refused = of_postgres(url.as_str());
    engine.execute(&format!("DROP ROLE {limited}")).await;
    assert_eq!(
        refused,
        format!(
            "{place} says: permission denied for schema public; let the user \"{limited}\" own the schema and its tables in \"{name}\" (ALTER SCHEMA public OWNER TO \"{limited}\")"
        )
    );
    engine.drop_database().await;
}

#[tokio::test]
async fn a_second_start_logs_nothing_of_the_table_of_migrations() {
    let Ok(server) = std::env::var("COUNTERSIGN_TEST_POSTGRES") else {
        return;
    };
    let engine = Engine::postgres(server).await;
    let url = engine.url();
    for _ in 0..2 {
        let logged = Binary::new().served(&[
            ("COUNTERSIGN_LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", &url),
            ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS),
            ("COUNTERSIGN_INSECURE_OPEN", "true"),
        ]);
        assert!(!logged.contains("_sqlx_migrations"), "{logged}");
    }
    engine.drop_database().await;
}

#[test]
fn a_directory_is_not_taken_for_a_database_without_its_key() {
    let binary = Binary::new();
    fs::create_dir(binary.directory().join("data")).expect("made");
    for more in [&[][..], &[("COUNTERSIGN_ENCRYPTION_KEYS", KEYS)]] {
        let variables = [&[("DATABASE_URL", "sqlite:data")][..], more].concat();
        assert_eq!(
            failure(&binary, &variables),
            "the database data is not a regular file; let DATABASE_URL name one, such as sqlite:countersign.db"
        );
    }
    assert!(!binary.directory().join("data.key").exists());
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let binary = Binary::new();
    assert_eq!(
        failure(&binary, &[("DATABASE_URL", "sqlite:none/a.db")]),
        "the file none/a.db.key cannot be used: No such file or directory (os error 2); check that its directory exists, and that the service may read and write there"
    );
    let keys = ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS);
    binary.write("text.db", &"this is no database".repeat(100));
    assert_eq!(
        failure(&binary, &[("DATABASE_URL", "sqlite:text.db"), keys]),
        "the database text.db is no SQLite database; let DATABASE_URL name another file"
    );
}

#[test]
fn a_file_that_may_not_be_written_is_named() {
    let binary = Binary::for_nobody();
    let keys = ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS);
    let database = binary.directory().join("a.db");
    fs::write(&database, "").expect("written");
    let expected = "the database a.db cannot be opened for reading and writing; check the owner and the mode of the file, of the files whose names begin with its name, and of its directory";
    for mode in [0o444, 0o000] {
        fs::set_permissions(&database, fs::Permissions::from_mode(mode)).expect("set");
        assert_eq!(
            failure(&binary, &[("DATABASE_URL", "sqlite:a.db"), keys]),
            expected,
            "{mode:o}"
        );
    }
    // The file itself may be written, but no file beside it.
    fs::set_permissions(&database, fs::Permissions::from_mode(0o666)).expect("set");
    fs::set_permissions(binary.directory(), fs::Permissions::from_mode(0o555)).expect("set");
    assert_eq!(
        failure(&binary, &[("DATABASE_URL", "sqlite:a.db"), keys]),
        expected
    );
    fs::set_permissions(binary.directory(), fs::Permissions::from_mode(0o755)).expect("set");
}

#[test]
fn a_number_is_not_told_as_a_duration() {
    let binary = Binary::new();
    assert_eq!(
        binary.refused(&[("BAN_INTERVAL", "canary")]),
        "BAN_INTERVAL must be a number or arithmetic such as 2 * 10\n"
    );
    assert_eq!(
        binary.refused(&[("BAN_DURATION", "canary")]),
        "BAN_DURATION must be a number or arithmetic such as 1000 * 60 * 15, in milliseconds\n"
    );
}

#[tokio::test]
async fn a_database_that_was_lost_is_not_made_anew_while_its_key_file_is_there() {
    let engine = Engine::sqlite();
    let mut world = World::start(&engine, &[]).await;
    world.register("ann@example.com").await;
    world.stop().await;
    let directory = directory(&engine).expect("SQLite");
    let (database, key_file) = (directory.join("test.db"), directory.join("test.db.key"));
    let kept = fs::read(&database).expect("a database");
    let expected = format!(
        "the database {} is missing or empty, but its key file {} is there; put the database back, or delete the key file to start afresh without the accounts",
        database.display(),
        key_file.display()
    );
    fs::remove_file(&database).expect("removed");
    assert_eq!(world.refused_start().await, expected);
    assert!(!database.exists());
    fs::write(&database, "").expect("written");
    assert_eq!(world.refused_start().await, expected);
    assert_eq!(fs::read(&database).expect("still there"), b"");

    fs::write(&database, kept).expect("written");
    world.resume().await;
    let bob = world.register("bob@example.com").await;
    assert_eq!(bob.role, "USER");
    world.end().await;
}

#[tokio::test]
async fn a_database_without_tables_is_as_good_as_lost() {
    let engine = Engine::sqlite();
    let mut world = World::start(&engine, &[]).await;
    world.stop().await;
    let database = directory(&engine).expect("SQLite").join("test.db");
    fs::remove_file(&database).expect("removed");
    let empty = SqliteConnectOptions::new()
        .filename(&database)
        .create_if_missing(true);
    let mut connection = empty.connect().await.expect("opens");
    raw_sql("PRAGMA user_version = 1")
        .execute(&mut connection)
        .await
        .expect("written");
    connection.close().await.expect("closed");
    assert!(world.refused_start().await.contains("is missing or empty"));
    fs::remove_file(&database).expect("removed");
    fs::remove_file(database.with_extension("db.key")).expect("removed");
    world.resume().await;
    let ann = world.register("ann@example.com").await;
    assert_eq!(ann.role, "ADMIN");
    world.end().await;
}

#[test]
fn a_start_that_fails_says_so_in_one_line_of_json_if_the_log_is_json() {
    let binary = Binary::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let json = ("COUNTERSIGN_LOG_FORMAT", "json");
    // Neither the filter nor a mistake in other settings hides the line.
    for (command, variable, reason) in [
        ("serve", ("LOGIN_MAX", "canary"), "LOGIN_MAX must be"),
        (
            "serve",
            ("COUNTERSIGN_LISTEN", &*address),
            "cannot be listened on",
        ),
        ("migrate", ("DATABASE_URL", "sqlite:/"), "DATABASE_URL"),
    ] {
        let variables = [json, variable, ("COUNTERSIGN_LOG", "off")];
        let printed = binary.run(&[command], &variables);
        assert!(!printed.succeeded);
        let line: Value = serde_json::from_str(&printed.error).expect("one line of JSON");
        assert_eq!(line["level"], "ERROR");
        let verb = if command == "serve" {
            "start"
        } else {
            "migrate"
        };
        assert_eq!(line["message"], format!("countersign cannot {verb}"));
        let told = line["reason"].as_str().expect("a reason");
        assert!(told.contains(reason), "{told}");
        assert!(line["timestamp"].is_string() && !told.contains("canary"));
    }
}
