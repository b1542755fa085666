//! The real OpenID provider of tests/oidc as a child process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

pub const CLIENT_ID: &str = "countersign";
pub const CLIENT_SECRET: &str = "countersign-client-secret-of-the-tests";
pub const REDIRECT_URI: &str = "http://localhost:3080/oauth/openid/callback";

/// A running provider; dropping it ends it.
pub struct Provider {
    pub issuer: String,
    child: Child,
    http: reqwest::Client,
}

/// The requests to the provider since it started.
#[derive(Clone, Debug, Deserialize)]
pub struct Stats {
    /// Requests to the token endpoint by grant type.
    pub requests: BTreeMap<String, u32>,
    /// Those answered with tokens.
    pub successes: BTreeMap<String, u32>,
    /// Those refused or failed by `Provider::fail`.
    pub failures: BTreeMap<String, u32>,
    pub userinfo: u32,
    pub jwks: u32,
    pub discovery: u32,
    /// The largest number of requests that the token endpoint handled at one time.
    pub max_parallel: u32,
}

impl Stats {
    /// Code exchanges, successful or not.
    pub fn exchanges(&self) -> u32 {
        self.requests
            .get("authorization_code")
            .copied()
            .unwrap_or(0)
    }

    /// Refresh requests, successful or not.
    pub fn refreshes(&self) -> u32 {
        self.requests.get("refresh_token").copied().unwrap_or(0)
    }
}

impl Provider {
    /// Starts one; `settings` are those of tests/oidc/settings.mjs, such as `json!({
    /// "access_token_ttl": 20 })`.
    pub async fn start(mut settings: Value) -> Self {
        settings["exit_with_stdin"] = json!(true);
        let log = NamedTempFile::new().expect("a temporary file");
        let mut child = spawn(&settings, &log);
        let stdout = child.stdout.take().expect("piped");
        let line = tokio::task::spawn_blocking(move || first_line(stdout))
            .await
            .expect("no panic");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            let _ = child.kill();
            panic!(
                "the provider did not start: {}",
                fs::read_to_string(log.path()).unwrap_or_default()
            )
        });
        let issuer = ready["issuer"].as_str().expect("an issuer").to_owned();
        Self {
            issuer,
            child,
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
        }
    }

    pub async fn stats(&self) -> Stats {
        self.control("stats", None).await
    }

    /// Sets all counts to zero and ends the fault.
    pub async fn reset(&self) {
        self.control("reset", Some(json!({}))).await;
    }

    /// Sets the fault of the token endpoint, such as `json!({ "status": 503, "times": 1 })`; an
    /// empty object ends it. control.mjs lists all faults.
    pub async fn fail(&self, fault: Value) {
        self.control("fail", Some(fault)).await;
    }

    /// Changes settings such as `access_token_ttl` from now on.
    pub async fn change(&self, settings: Value) {
        self.control("settings", Some(settings)).await;
    }

    /// Waits until this many refresh requests have come.
    pub async fn wait_for_refreshes(&self, count: u32) {
        let seen = async { while self.stats().await.refreshes() < count {} };
        tokio::time::timeout(Duration::from_secs(10), seen)
            .await
            .expect("the requests come");
    }

    async fn control(&self, name: &str, body: Option<Value>) -> Stats {
        let url = format!("{}/control/{name}", self.issuer);
        let request = match body {
            None => self.http.get(url),
            Some(body) => self.http.post(url).body(body.to_string()),
        };
        let answer = request.send().await.expect("the provider answers");
        serde_json::from_slice(&answer.bytes().await.expect("an answer")).expect("the counts")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(settings: &Value, log: &NamedTempFile) -> Child {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc");
    assert!(
        directory.join("node_modules").is_dir(),
        "run `npm ci` in tests/oidc first (scripts/test does)"
    );
    let mut command = Command::new("node");
    command
        .arg("provider.mjs")
        .current_dir(directory)
        .env("OIDC_SETTINGS", settings.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.reopen().expect("a second handle"));
    command.spawn().expect("Node.js runs")
}

fn first_line(stdout: ChildStdout) -> String {
    let mut line = String::new();
    let _ = BufReader::new(stdout).read_line(&mut line);
    line
}
