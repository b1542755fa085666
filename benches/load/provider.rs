//! A small OpenID provider on loopback. It accepts every code, and uses the code as the nonce of
//! the ID token and as the name of the user, so that every sign-in is of a new user.

use std::net::SocketAddr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::clock::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;

pub const CLIENT_ID: &str = "load";
/// As long as the access tokens of common providers.
const ACCESS_TOKEN_LEN: usize = 1_000;
const LIFETIME: i64 = 3_600;
const MAX_REQUEST: usize = 16 * 1024;

/// The provider's issuer and key.
pub struct Provider {
    issuer: String,
    key: Ed25519KeyPair,
}

impl Provider {
    /// Starts one and gives its issuer.
    pub async fn start() -> Result<String> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let provider = Self {
            issuer: issuer.clone(),
            key: Ed25519KeyPair::generate()?,
        };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The client notices a broken answer.
                let _ = provider.answer(stream).await;
            }
        });
        Ok(issuer)
    }

    /// Reads one request, answers it and closes the connection.
    async fn answer(&self, mut stream: TcpStream) -> Result<()> {
        let request = read(&mut stream).await?;
        let body = self.document(&request).to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        Ok(stream.shutdown().await?)
    }

    fn document(&self, request: &str) -> Value {
        if request.starts_with("GET /.well-known/openid-configuration") {
            self.metadata()
        } else if request.starts_with("GET /jwks") {
            let x = URL_SAFE_NO_PAD.encode(self.key.public_key());
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "1", "x": x }] })
        } else {
            let form = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let code =
                url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "code");
            self.tokens(&code.map(|(_, code)| code.into_owned()).unwrap_or_default())
        }
    }

    fn metadata(&self) -> Value {
        let issuer = &self.issuer;
        json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/jwks"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["EdDSA"],
            "code_challenge_methods_supported": ["S256"],
        })
    }

    fn tokens(&self, nonce: &str) -> Value {
        let now = Clock::system().now().secs();
        let claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "sub": nonce, "iat": now, "exp": now + LIFETIME, "nonce": nonce,
            "email": format!("u{nonce}@example.com"), "email_verified": true, "name": "Ann Example", "preferred_username": "ann",
        });
        json!({
            "access_token": "a".repeat(ACCESS_TOKEN_LEN),
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "id_token": self.sign(&claims),
        })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "1" });
        let signed = [header, claims.clone()]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Reads a whole request: the head, and a body of the length that the head gives.
async fn read(stream: &mut TcpStream) -> Result<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 || request.len() > MAX_REQUEST {
            return Err("not a request".into());
        }
        let text = str::from_utf8(&request)?;
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            return Ok(text.to_owned());
        }
    }
}

fn content_length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let value = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    value.unwrap_or(0)
}
