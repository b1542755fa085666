//! A provider on a local socket whose responses a test sets.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
static OTHER_KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));

#[derive(Default)]
struct State {
    discovery: Vec<u8>,
    keys: Vec<u8>,
    token: Vec<u8>,
    next_tokens: VecDeque<Vec<u8>>,
    userinfo: Vec<u8>,
    seen: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Provider {
    pub(super) issuer: String,
    state: Arc<Mutex<State>>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Self {
            issuer,
            state: Arc::default(),
        };
        provider.discovery(|_| {});
        provider.keys(ok(&json!({"keys": [jwk(&KEY, "k1")]})));
        tokio::spawn(provider.clone().serve(listener));
        provider
    }

    /// Sets a valid discovery document with a change.
    pub(super) fn discovery(&self, change: impl FnOnce(&mut Value)) {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        let mut document = json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("auth"),
            "token_endpoint": at("token"),
            "jwks_uri": at("keys"),
            "userinfo_endpoint": at("userinfo"),
            "end_session_endpoint": at("logout"),
        });
        change(&mut document);
        self.with(|state| state.discovery = ok(&document));
    }

    pub(super) fn raw_discovery(&self, answer: Vec<u8>) {
        self.with(|state| state.discovery = answer);
    }

    pub(super) fn keys(&self, answer: Vec<u8>) {
        self.with(|state| state.keys = answer);
    }

    pub(super) fn token(&self, answer: Vec<u8>) {
        self.with(|state| state.token = answer);
    }

    /// Answers the next token request with this.
    pub(super) fn token_once(&self, answer: Vec<u8>) {
        self.with(|state| state.next_tokens.push_back(answer));
    }

    pub(super) fn userinfo(&self, answer: Vec<u8>) {
        self.with(|state| state.userinfo = answer);
    }

    /// The requests to this path so far, with their headers and bodies.
    pub(super) fn seen(&self, path: &str) -> Vec<String> {
        let is_for = |request: &&String| request.split(' ').nth(1) == Some(path);
        self.with(|state| state.seen.iter().filter(is_for).cloned().collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let request = read(&mut stream).await;
            let answer = self.with(|state| {
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                state.seen.push(request);
                match path.as_str() {
                    "/.well-known/openid-configuration" => state.discovery.clone(),
                    "/keys" => state.keys.clone(),
                    "/token" => {
                        let next = state.next_tokens.pop_front();
                        next.unwrap_or_else(|| state.token.clone())
                    }
                    "/userinfo" => state.userinfo.clone(),
                    _ => response(404, "text/plain", b""),
                }
            });
            let _ = stream.write_all(&answer).await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut buffer = [0; 8192];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        request.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let body = request
            .split_once("\r\n\r\n")
            .map(|(head, body)| (content_length(head), body.len()));
        if length == 0 || body.is_some_and(|(announced, there)| there >= announced) {
            return request;
        }
    }
}

fn content_length(head: &str) -> usize {
    head.lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

pub(super) fn response(status: u16, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(super) fn ok(body: &Value) -> Vec<u8> {
    response(
        200,
        "application/json; charset=utf-8",
        body.to_string().as_bytes(),
    )
}

pub(super) fn jwk_of_other_key(kid: &str) -> Value {
    jwk(&OTHER_KEY, kid)
}

fn jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let public = key.public_key();
    let encode = |number: aws_lc_rs::rsa::PublicKeyComponents<Vec<u8>>| {
        (
            URL_SAFE_NO_PAD.encode(number.n),
            URL_SAFE_NO_PAD.encode(number.e),
        )
    };
    let (n, e) = encode(public.into());
    json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e})
}

pub(super) fn signed(header: &Value, claims: &Value) -> String {
    sign(&KEY, header, claims)
}

pub(super) fn signed_by_other_key(header: &Value, claims: &Value) -> String {
    sign(&OTHER_KEY, header, claims)
}

fn sign(key: &RsaKeyPair, header: &Value, claims: &Value) -> String {
    let input = unsigned(header, claims);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
}
