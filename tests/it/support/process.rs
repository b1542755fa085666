//! The binary as a service in a process of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::{NamedTempFile, TempDir};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tonic::transport::Channel;

/// How often the end is looked for.
const PAUSE: Duration = Duration::from_millis(10);

/// A running service.
pub struct Process {
    pub channel: Channel,
    child: Child,
    log: NamedTempFile,
    _directory: TempDir,
}

impl Process {
    /// Starts the binary with these variables, on SQLite unless they name a database. Its log goes to
    /// a file.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let log = NamedTempFile::new().expect("a file");
        let error = log.reopen().expect("opened");
        Self::start_with(variables, log, error.into(), |_| {}).await
    }

    /// Starts it with another standard error; `begun` gets the process before it answers.
    pub async fn with_log_at(error: Stdio, begun: impl FnOnce(&mut Child)) -> Self {
        let log = NamedTempFile::new().expect("a file");
        Self::start_with(&[("COUNTERSIGN_LOG", "debug")], log, error, begun).await
    }

    async fn start_with(
        variables: &[(&str, &str)],
        log: NamedTempFile,
        error: Stdio,
        begun: impl FnOnce(&mut Child),
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let database = format!("sqlite:{}", directory.path().join("test.db").display());
        let mut all = BTreeMap::from([
            ("COUNTERSIGN_LISTEN", address.as_str()),
            ("COUNTERSIGN_OPS_LISTEN", "off"),
            ("DATABASE_URL", &database),
        ]);
        all.extend(variables.iter().copied());
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .env_clear()
            .current_dir(directory.path())
            .envs(all)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(error)
            .spawn()
            .expect("starts");
        begun(&mut child);
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an endpoint");
        let channel = loop {
            if let Ok(channel) = endpoint.connect().await {
                break channel;
            }
            let ended = child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended: {}", text(&log));
        };
        Self {
            channel,
            child,
            log,
            _directory: directory,
        }
    }

    /// What it logged so far.
    pub fn logged(&self) -> String {
        text(&self.log)
    }

    /// Stops it properly; what it logged.
    pub async fn stop(mut self) -> String {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.expect("kill").success());
        // The test's side of the connections goes on meanwhile, so that they can be closed.
        let ended = loop {
            match self.child.try_wait().expect("a child") {
                Some(ended) => break ended,
                None => sleep(PAUSE).await,
            }
        };
        assert!(ended.success(), "{}", text(&self.log));
        text(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _it_ended = self.child.kill();
        let _it_ended = self.child.wait();
    }
}

fn text(log: &NamedTempFile) -> String {
    let file: File = log.reopen().expect("opened");
    std::io::read_to_string(file).expect("text")
}
