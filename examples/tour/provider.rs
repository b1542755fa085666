//! A small OpenID provider with one user, who is always signed in. It implements just enough of OpenID Connect Core.

mod http;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::clock::Clock;
use countersign::secret::{random_token, sha256};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use self::http::{Answer, Request};
use crate::story::Outcome;

pub const CLIENT_ID: &str = "tour";
pub const CLIENT_SECRET: &str = "the-secret-of-the-tour";
const REDIRECT_URI: &str = "http://localhost:3080/oauth/openid/callback";
/// How long access and ID tokens live.
const LIFE: Duration = Duration::from_mins(5);

/// The provider; its clones share one state.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    issuer: String,
    key: Ed25519KeyPair,
    clock: Clock,
    grants: Mutex<Grants>,
}

/// What the provider has given out.
#[derive(Default)]
struct Grants {
    /// Logins by code; each code can be used once.
    logins: HashMap<String, Login>,
    access_token: String,
    id_token: String,
    /// The only valid one: each renewal gives a new one.
    refresh_token: String,
    renewals: usize,
}

/// An authorization request, until its code is redeemed.
struct Login {
    challenge: String,
    nonce: String,
}

impl Provider {
    pub async fn start(clock: Clock) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let provider = Self(Arc::new(Inner {
            issuer,
            key: Ed25519KeyPair::generate()?,
            clock,
            grants: Mutex::default(),
        }));
        tokio::spawn(provider.clone().serve(listener));
        Ok(provider)
    }

    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The access token that was given out last.
    pub fn access_token(&self) -> String {
        self.with(|grants| grants.access_token.clone())
    }

    /// The ID token that was given out last.
    pub fn id_token(&self) -> String {
        self.with(|grants| grants.id_token.clone())
    }

    /// How often tokens were renewed.
    pub fn renewals(&self) -> usize {
        self.with(|grants| grants.renewals)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Grants) -> T) -> T {
        act(&mut self.0.grants.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().serve_one(stream));
        }
    }

    async fn serve_one(self, mut stream: TcpStream) {
        if let Some(request) = http::read(&mut stream).await {
            http::write(&mut stream, &self.answer(&request)).await;
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/.well-known/openid-configuration" => Answer::Json(200, self.discovery()),
            "/keys" => Answer::Json(200, json!({ "keys": [self.jwk()] })),
            "/authorize" => self.authorize(&request.query),
            "/token" if !is_the_client(request) => refuse(401, "invalid_client"),
            "/token" => match request.form("grant_type") {
                "authorization_code" => self.redeem(request),
                "refresh_token" => self.renew(request),
                _ => refuse(400, "unsupported_grant_type"),
            },
            _ => refuse(404, "not_found"),
        }
    }

    fn discovery(&self) -> Value {
        let issuer = self.issuer();
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.0.key.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "tour", "x": x })
    }

    /// The authorization endpoint: a real one would show a login form here.
    fn authorize(&self, query: &HashMap<String, String>) -> Answer {
        let of = |name: &str| query.get(name).map_or("", String::as_str);
        let expected = of("client_id") == CLIENT_ID
            && of("redirect_uri") == REDIRECT_URI
            && of("response_type") == "code";
        if !expected || of("code_challenge_method") != "S256" || of("code_challenge").is_empty() {
            return refuse(400, "invalid_request");
        }
        let code = random_token();
        let login = Login {
            challenge: of("code_challenge").to_owned(),
            nonce: of("nonce").to_owned(),
        };
        self.with(|grants| grants.logins.insert(code.clone(), login));
        let callback = [
            ("code", code.as_str()),
            ("state", of("state")),
            ("iss", self.issuer()),
        ];
        Answer::Redirect(format!("{REDIRECT_URI}?{}", http::encode(&callback)))
    }

    fn redeem(&self, request: &Request) -> Answer {
        let login = self.with(|grants| grants.logins.remove(request.form("code")));
        let challenge = URL_SAFE_NO_PAD.encode(sha256(request.form("code_verifier").as_bytes()));
        match login {
            Some(login)
                if login.challenge == challenge && request.form("redirect_uri") == REDIRECT_URI =>
            {
                self.grant(Some(&login.nonce))
            }
            _ => refuse(400, "invalid_grant"),
        }
    }

    fn renew(&self, request: &Request) -> Answer {
        let known = self.with(|grants| {
            grants.renewals += 1;
            std::mem::take(&mut grants.refresh_token) == request.form("refresh_token")
        });
        if known {
            self.grant(None)
        } else {
            refuse(400, "invalid_grant")
        }
    }

    fn grant(&self, nonce: Option<&str>) -> Answer {
        let id_token = self.sign_id_token(nonce);
        let (access_token, refresh_token) = (random_token(), random_token());
        let answer = json!({
            "token_type": "Bearer",
            "access_token": access_token,
            "refresh_token": refresh_token,
            "id_token": id_token,
            "expires_in": LIFE.as_secs(),
            "scope": "openid profile email",
        });
        self.with(|grants| {
            (grants.access_token, grants.id_token, grants.refresh_token) =
                (access_token, id_token, refresh_token);
        });
        Answer::Json(200, answer)
    }

    fn sign_id_token(&self, nonce: Option<&str>) -> String {
        let now = self.0.clock.now();
        let mut claims = json!({
            "iss": self.issuer(),
            "sub": "bea-7",
            "aud": CLIENT_ID,
            "iat": now.secs(),
            "exp": now.plus(LIFE).secs(),
            "email": "bea@example.com",
            "email_verified": true,
            "name": "Bea Example",
            "preferred_username": "bea",
            "groups": ["research", "staff"],
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let header = json!({ "alg": "EdDSA", "kid": "tour" });
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.0.key.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn is_the_client(request: &Request) -> bool {
    request.authorization
        == format!(
            "Basic {}",
            STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}"))
        )
}

fn refuse(status: u16, error: &str) -> Answer {
    Answer::Json(status, json!({ "error": error }))
}
