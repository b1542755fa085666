//! A provider that answers whatever a test wants, for answers that the real one never gives.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::provider::CLIENT_ID;

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
static OTHER_KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));

#[derive(Default)]
struct State {
    status: u16,
    body: String,
    has_other_key: bool,
    heads: Vec<String>,
    token_requests: Vec<String>,
}

/// A provider on a local socket; it ends with the test.
#[derive(Clone)]
pub struct Hostile {
    pub issuer: String,
    state: Arc<Mutex<State>>,
}

impl Hostile {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let provider = Self {
            issuer,
            state: Arc::default(),
        };
        tokio::spawn(provider.clone().serve(listener));
        provider
    }

    /// Sets what the token endpoint answers from now on.
    pub fn answer(&self, status: u16, body: &str) {
        self.with(|state| (state.status, state.body) = (status, body.to_owned()));
    }

    /// Whether its key set names the other key too, as `k2`.
    pub fn publish_other_key(&self, published: bool) {
        self.with(|state| state.has_other_key = published);
    }

    /// Request lines and headers of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.with(|state| state.heads.clone())
    }

    /// The bodies of all requests to the token endpoint so far.
    pub fn token_requests(&self) -> Vec<String> {
        self.with(|state| state.token_requests.clone())
    }

    /// The claims of a valid ID token of `sub`, issued at `now`.
    pub fn claims(&self, sub: &str, nonce: &str, now: i64) -> Value {
        json!({
            "iss": self.issuer, "sub": sub, "aud": CLIENT_ID, "iat": now, "exp": now + 3600, "nonce": nonce,
            "email": format!("{sub}@example.net"), "email_verified": true, "name": format!("User {sub}"), "preferred_username": sub,
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().exchange(stream));
        }
    }

    async fn exchange(self, mut stream: TcpStream) {
        let request = read(&mut stream).await;
        let head = request.split("\r\n\r\n").next().unwrap_or_default();
        self.with(|state| state.heads.push(head.to_owned()));
        let (status, body) = match request.split(' ').nth(1).unwrap_or_default() {
            "/.well-known/openid-configuration" => (200, self.discovery()),
            "/keys" => (200, self.key_set()),
            "/token" => self.with(|state| {
                state.token_requests.push(
                    request
                        .split_once("\r\n\r\n")
                        .unwrap_or_default()
                        .1
                        .to_owned(),
                );
                (state.status, state.body.clone())
            }),
            _ => (404, "{}".to_owned()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    }

    fn key_set(&self) -> String {
        let mut keys = vec![jwk(&KEY, "k1")];
        if self.with(|state| state.has_other_key) {
            keys.push(jwk(&OTHER_KEY, "k2"));
        }
        json!({ "keys": keys }).to_string()
    }

    fn discovery(&self) -> String {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        json!({
            "issuer": self.issuer, "authorization_endpoint": at("auth"), "token_endpoint": at("token"), "jwks_uri": at("keys"),
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        })
        .to_string()
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

/// The token endpoint's answer with these tokens.
pub fn tokens(access_token: &str, refresh_token: &str, id_token: &str) -> Value {
    json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 300, "scope": "openid email",
        "refresh_token": refresh_token, "id_token": id_token,
    })
}

/// An ID token, signed as the provider signs it.
pub fn signed(claims: &Value) -> String {
    signed_as(
        &json!({ "alg": "RS256", "kid": "k1", "typ": "JWT" }),
        claims,
    )
}

/// Signed with the provider's RSA key, whatever the header says.
pub fn signed_as(header: &Value, claims: &Value) -> String {
    sign(&KEY, header, claims)
}

/// Signed with a key that the provider does not have, unless it has published it.
pub fn signed_by_stranger(header: &Value, claims: &Value) -> String {
    sign(&OTHER_KEY, header, claims)
}

/// Signed with HMAC and this secret.
pub fn hs256(secret: &[u8], claims: &Value) -> String {
    let input = unsigned(&json!({ "alg": "HS256", "kid": "k1" }), claims);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac))
}

/// Header and claims without a signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    )
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

fn jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let public: PublicKeyComponents<Vec<u8>> = key.public_key().into();
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
    })
}
