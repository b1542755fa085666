//! An issuer of callers' JWTs, such as the API server of Kubernetes, which publishes its keys by HTTPS.

use std::fs;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::Authority;

pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub const AUDIENCE: &str = "countersign";
pub const SUBJECT: &str = "system:serviceaccount:chat:backend";

static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));
static EC: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let key = key.expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref()).expect("a key")
});

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key of the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Rsa,
    Ec,
}

impl Key {
    fn jwk(self) -> Value {
        match self {
            Self::Rsa => {
                let components = PublicKeyComponents::<Vec<u8>>::from(RSA.public_key());
                let (n, e) = (encode(&components.n), encode(&components.e));
                json!({"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": n, "e": e})
            }
            Self::Ec => {
                let point = EC.public_key().as_ref();
                let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
                json!({"kty": "EC", "kid": "ec", "use": "sig", "crv": "P-256", "x": x, "y": y})
            }
        }
    }

    fn header(self) -> Value {
        match self {
            Self::Rsa => json!({"alg": "RS256", "kid": "rsa"}),
            Self::Ec => json!({"alg": "ES256", "kid": "ec"}),
        }
    }

    fn sign(self, input: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa => {
                let mut signature = vec![0; RSA.public_modulus_len()];
                RSA.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature)
                    .expect("signed");
                signature
            }
            Self::Ec => {
                let signature = EC.sign(&random, input.as_bytes()).expect("signed");
                signature.as_ref().to_vec()
            }
        }
    }
}

/// A JWK set of these keys.
pub fn jwks(keys: &[Key]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The claims of a service account's token that is good for an hour.
pub fn claims(clock: &Clock) -> Value {
    let now = clock.now().secs();
    json!({
        "iss": ISSUER, "aud": [AUDIENCE], "sub": SUBJECT, "iat": now, "nbf": now, "exp": now + 3600,
        "kubernetes.io": {"namespace": "chat", "serviceaccount": {"name": "backend", "uid": "1"}},
    })
}

/// A token with these claims; members of `header` are added to its header.
pub fn token_with(key: Key, claims: &Value, header: &Value) -> String {
    let mut whole = key.header();
    for (name, value) in header.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    let input = format!(
        "{}.{}",
        encode(whole.to_string()),
        encode(claims.to_string())
    );
    format!("{input}.{}", encode(key.sign(&input)))
}

/// A good token.
pub fn token(key: Key, clock: &Clock) -> String {
    token_with(key, &claims(clock), &json!({}))
}

/// How the issuer answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Keys(Vec<Key>),
    Status(u16),
    /// It accepts the request and says nothing.
    Silence,
}

/// The issuer, which ends with the test.
pub struct Issuer {
    pub url: String,
    state: Arc<Mutex<State>>,
    directory: TempDir,
}

struct State {
    answer: Answer,
    heads: Vec<String>,
}

impl Issuer {
    pub async fn start(answer: Answer) -> Self {
        let (authority, listener) = (Authority::new(), TcpListener::bind("127.0.0.1:0").await);
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let issuer = Self {
            url: format!("https://localhost:{port}/openid/v1/jwks"),
            state: Arc::new(Mutex::new(State {
                answer,
                heads: Vec::new(),
            })),
            directory: tempfile::tempdir().expect("a directory"),
        };
        fs::write(issuer.ca_file(), authority.pem()).expect("written");
        fs::write(issuer.token_file(), "a-reviewers-token\n").expect("written");
        let acceptor = TlsAcceptor::from(Arc::new(authority.server().server_config()));
        tokio::spawn(serve(listener, acceptor, Arc::clone(&issuer.state)));
        issuer
    }

    /// The authority of its certificate.
    pub fn ca_file(&self) -> String {
        self.path("ca.crt")
    }

    /// A file with the token that it asks for.
    pub fn token_file(&self) -> String {
        self.path("token")
    }

    fn path(&self, name: &str) -> String {
        let path = self.directory.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Sets how it answers from now on.
    pub fn answer(&self, answer: Answer) {
        self.with(|state| state.answer = answer);
    }

    /// Request lines and headers of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.with(|state| state.heads.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let answer = {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                state
                    .heads
                    .push(String::from_utf8_lossy(&head).into_owned());
                state.answer.clone()
            };
            let (status, body) = match answer {
                Answer::Keys(keys) => (200, jwks(&keys)),
                Answer::Status(status) => (status, "{}".to_owned()),
                Answer::Silence => std::future::pending().await,
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/jwk-set+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}
