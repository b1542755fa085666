//! The binary with a log that cannot be written: it serves and stops as ever.

use std::process::{Child, Command, Stdio};

use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::*;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A service of its own process, which logs everything that it does.
struct Process {
    child: Child,
    channel: Channel,
    _directory: tempfile::TempDir,
}

async fn start(log: impl FnOnce(&mut Child), stderr: Stdio) -> Process {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let database = format!("sqlite:{}", directory.path().join("test.db").display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .env_clear()
        .current_dir(directory.path())
        .env("COUNTERSIGN_LISTEN", address.to_string())
        .env("DATABASE_URL", database)
        .env("COUNTERSIGN_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("starts");
    log(&mut child);
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an endpoint");
    let channel = loop {
        if let Ok(channel) = endpoint.connect().await {
            break channel;
        }
        assert!(child.try_wait().expect("a child").is_none(), "it ended");
    };
    Process {
        child,
        channel,
        _directory: directory,
    }
}

impl Process {
    /// Makes so many calls that their lines fill any pipe.
    async fn works(&self) {
        for _ in 0..1000 {
            let list = ListProvidersRequest {};
            let mut auth = AuthServiceClient::new(self.channel.clone());
            auth.list_providers(list).await.expect("an answer");
        }
        let mut health = HealthClient::new(self.channel.clone());
        let check = HealthCheckRequest::default();
        health.check(check).await.expect("healthy");
    }

    fn stops(mut self) {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.expect("kill").success());
        assert!(self.child.wait().expect("ends").success());
    }
}

#[tokio::test]
async fn a_log_whose_reader_is_gone_harms_nothing() {
    let process = start(|child| drop(child.stderr.take()), Stdio::piped()).await;
    process.works().await;
    process.stops();
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let process = start(|_| {}, Stdio::piped()).await;
    process.works().await;
    process.stops();
}

#[tokio::test]
async fn a_log_on_a_full_device_harms_nothing() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let process = start(|_| {}, full.expect("the device").into()).await;
    process.works().await;
    process.stops();
}
