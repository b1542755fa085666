//! Files that are read again while the service runs.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tonic::{Code, Status};

use crate::callers::CALLERS;
use crate::support::authority::{Authority, Mounted, connect, newest, shows};
use crate::support::callers::{Backend, CallersFile};
use crate::support::engine::KEYS;
use crate::support::mount::Mount;
use crate::support::{Engine, World, logs, on_each_engine, reason};

async fn ask(world: &World<'_>, backend: &Backend) -> Result<(), Status> {
    let request = backend.sends(ListProvidersRequest {});
    world.auth().list_providers(request).await.map(drop)
}

async fn is_known(world: &World<'_>, backend: &Backend) -> bool {
    match ask(world, backend).await {
        Ok(()) => true,
        Err(refusal) => {
            let unknown = (Code::Unauthenticated, "CALLER_UNKNOWN".to_owned());
            assert_eq!(reason(&refusal), unknown);
            false
        }
    }
}

#[tokio::test]
async fn a_change_of_the_callers_file_counts_from_the_next_call_on() {
    let (old, new) = (
        Backend::new("old", &["auth.sign_in"]),
        Backend::new("new", &["auth.sign_in"]),
    );
    on_each_engine(async |engine| {
        let file = CallersFile::new(&[&old]);
        let world = World::start(engine, &[(CALLERS, file.path())]).await;
        assert!(is_known(&world, &old).await && !is_known(&world, &new).await);
        file.write(&[&new]);
        world.reload().await;
        assert!(!is_known(&world, &old).await && is_known(&world, &new).await);
        world.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_callers_file_that_is_wrong_leaves_the_callers_and_is_logged_once() {
    let (engine, chat) = (Engine::sqlite(), Backend::new("chat", &["auth.sign_in"]));
    let file = CallersFile::new(&[&chat]);
    let world = World::start(&engine, &[(CALLERS, file.path())]).await;
    let logged = |fault: &str| logs::count(&["is wrong or cannot be read", "callers", fault]);
    for (text, fault) in [
        (
            "callers: [{ name: wrong-1 }]",
            "caller wrong-1 has no credential",
        ),
        ("callers: []", "names a file without callers; unset it"),
        ("a canary", "is not of the shape"),
    ] {
        let before = logged(fault);
        fs::write(file.path(), text).expect("written");
        for _ in 0..3 {
            world.reload().await;
            assert!(is_known(&world, &chat).await, "{text}");
        }
        assert_eq!(logged(fault), before + 1, "{text}");
    }
    let reads = |outcome: &str| {
        let labels = format!("file=\"callers\",outcome=\"{outcome}\"");
        world.count("countersign_reload_reads_total", &labels)
    };
    assert!(reads("failed") >= 9 && reads("changed") == 0);
    fs::remove_file(file.path()).expect("removed");
    world.reload().await;
    assert!(is_known(&world, &chat).await);
    let other = Backend::new("other", &["auth.sign_in"]);
    file.write(&[&chat, &other]);
    world.reload().await;
    assert_eq!(reads("changed"), 1);
    world.secret("a canary");
    world.end().await;
}

/// A process that has not logged a line by then never does.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until the process has logged this text after so many bytes.
fn until_logged(process: &mut Child, log: &Path, after: usize, text: &str) {
    let begin = Instant::now();
    while !fs::read_to_string(log).expect("text")[after..].contains(text) {
        assert!(process.try_wait().expect("a child").is_none(), "it ended");
        assert!(begin.elapsed() < DEADLINE, "{text}");
        std::thread::yield_now();
    }
}

fn signal(process: &Child, name: &str) {
    let kill = Command::new("kill")
        .args([name, &process.id().to_string()])
        .status();
    assert!(kill.expect("kill").success());
}

/// Starts the service with these variables and no others; its log goes to the file.
fn spawn(directory: &Path, log: &Path, variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
        .env_clear()
        .current_dir(directory)
        .env("COUNTERSIGN_LISTEN", "127.0.0.1:0")
        .env("COUNTERSIGN_OPS_LISTEN", "off")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log).expect("a file"))
        .spawn()
        .expect("starts")
}

#[test]
fn sighup_reads_the_files_at_once_and_ends_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (filter, log) = (
        directory.path().join("filter"),
        directory.path().join("log"),
    );
    fs::write(&filter, "info\n").expect("written");
    let variables = [("COUNTERSIGN_LOG_FILTER_FILE", "filter")];
    let mut process = spawn(directory.path(), &log, &variables);
    until_logged(&mut process, &log, 0, "serving");
    for (text, logged) in [
        ("info,countersign=debug", "changed, and was read again"),
        ("a=wrong=b", "is wrong or cannot be read"),
        ("in", "neither a level nor a module"),
        ("info", "changed, and was read again"),
    ] {
        let before = fs::read_to_string(&log).expect("text").len();
        fs::write(&filter, text).expect("written");
        signal(&process, "-HUP");
        until_logged(&mut process, &log, before, logged);
    }
    signal(&process, "-TERM");
    assert!(process.wait().expect("ends").success());
}

#[tokio::test]
async fn sighup_takes_over_what_was_swapped_in_a_secret_and_a_config_map() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("log");
    let (authority, old, new) = (
        Authority::new(),
        Backend::new("old", &["auth.sign_in"]),
        Backend::new("new", &["auth.sign_in"]),
    );
    let listed = |backend: &Backend| format!("callers:\n{}", backend.entry());
    let callers = Mount::new(&[("callers.yaml", &listed(&old))]);
    let (first, second) = (authority.server(), authority.server());
    let files = Mounted::new(&first, &authority);
    let ([cert, key], address) = (files.settings(), free_address());
    let mut process = spawn(
        directory.path(),
        &log,
        &[
            (cert.0, &cert.1),
            (key.0, &key.1),
            (CALLERS, &callers.path("callers.yaml")),
            ("COUNTERSIGN_LISTEN", &address.to_string()),
        ],
    );
    until_logged(&mut process, &log, 0, "serving");
    let channel = connect(address, newest(&authority, None)).await;
    let channel = channel.expect("connects");
    let is_known = async |backend: &Backend| {
        let request = backend.sends(ListProvidersRequest {});
        let mut auth = AuthServiceClient::new(channel.clone());
        auth.list_providers(request).await.is_ok()
    };
    assert!(is_known(&old).await && !is_known(&new).await);
    assert!(shows(address, &authority, &first).await);

    files.swap(&second, &authority);
    callers.swap(&[("callers.yaml", &listed(&new))]);
    signal(&process, "-HUP");
    for name in ["certificate", "callers"] {
        let changed = format!("changed, and was read again name=\"{name}\"");
        until_logged(&mut process, &log, 0, &changed);
    }
    assert!(!is_known(&old).await && is_known(&new).await);
    assert!(shows(address, &authority, &second).await);
    signal(&process, "-TERM");
    drop(channel);
    assert!(process.wait().expect("ends").success());
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn signals_count_while_the_start_waits_for_a_database_that_says_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let database = format!("postgres://ann@127.0.0.1:{port}/canary?sslmode=disable");
    let mut process = spawn(
        directory.path(),
        &directory.path().join("log"),
        &[
            ("COUNTERSIGN_ENCRYPTION_KEYS", KEYS),
            ("DATABASE_URL", &database),
        ],
    );
    let _open = silent.accept().expect("it connects");
    signal(&process, "-HUP");
    signal(&process, "-TERM");
    assert!(process.wait().expect("ends").success());
}
