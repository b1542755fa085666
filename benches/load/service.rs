//! The service as its users run it: the release binary with one configured caller. Also prepares
//! what the benchmark needs.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::begin_federated_login_response::NextStep;
use countersign::grpc::proto::complete_federated_login_response::Result::SignedIn as Done;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::{
    BeginFederatedLoginRequest, ClientContext, CompleteFederatedLoginRequest, MintSessionRequest,
    RefreshSessionRequest, SignedIn, TokenPair,
};
use countersign::secret::{random, sha256};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::Result;
use crate::process::Process;
use crate::provider::CLIENT_ID;

/// The token of the calling backend.
pub const CALLER_TOKEN: &str = "csc_loadloadloadloadloadloadloadloadloadloadlo";
const PROVIDER: &str = "openid";
const PERMISSIONS: &str =
    "auth.sign_in, token.*, token.mint, federation.resolve, federation.inline";
/// Calls in flight while the benchmark is prepared.
const PREPARING: usize = 32;

/// A running service.
pub struct Service {
    pub process: Process,
    pub address: SocketAddr,
    channel: Channel,
}

impl Service {
    /// Starts the binary with its files in `home`, and waits until it serves.
    pub async fn start(home: &Path, database: &str, issuer: &str) -> Result<Self> {
        let address = free_address()?;
        let process = Process::start(&mut command(home, address, database, issuer)?)?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        while !is_serving(&endpoint).await {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(Self {
            process,
            address,
            channel: endpoint.connect().await?,
        })
    }

    /// Signs a user in at the OpenID provider.
    pub async fn sign_in(&self) -> Result<SignedIn> {
        let mut auth = AuthServiceClient::new(self.channel.clone());
        let client = Some(ClientContext {
            ip_address: "203.0.113.7".to_owned(),
            ..ClientContext::default()
        });
        let request = BeginFederatedLoginRequest {
            provider: PROVIDER.to_owned(),
            client: client.clone(),
            ..Default::default()
        };
        let begun = auth
            .begin_federated_login(authorized(request)?)
            .await?
            .into_inner();
        let NextStep::AuthorizationUrl(url) = begun.next_step.ok_or("no next step")?;
        let url = url::Url::parse(&url)?;
        let nonce = url
            .query_pairs()
            .find(|(name, _)| name == "nonce")
            .ok_or("no nonce")?
            .1
            .into_owned();
        let request = CompleteFederatedLoginRequest {
            provider: PROVIDER.to_owned(),
            state: begun.state,
            code: nonce,
            binding_token: begun.binding_token,
            client,
            ..Default::default()
        };
        let Some(Done(signed_in)) = auth
            .complete_federated_login(authorized(request)?)
            .await?
            .into_inner()
            .result
        else {
            return Err("the sign-in was not completed".into());
        };
        Ok(signed_in)
    }

    /// Opens a number of sessions for a user.
    pub async fn mint(&self, user_id: &str, device: &str, count: usize) -> Result<Vec<TokenPair>> {
        let mint = |_| async {
            let client = ClientContext {
                device_name: device.to_owned(),
                ..ClientContext::default()
            };
            let request = MintSessionRequest {
                user_id: user_id.to_owned(),
                client: Some(client),
                ..Default::default()
            };
            let minted = TokenServiceClient::new(self.channel.clone())
                .mint_session(authorized(request)?)
                .await?;
            minted.into_inner().tokens.ok_or_else(|| "no tokens".into())
        };
        stream::iter(0..count)
            .map(mint)
            .buffer_unordered(PREPARING)
            .try_collect()
            .await
    }

    /// A number of access tokens of one new session: within its grace time a used refresh token
    /// gives a new one each time.
    pub async fn access_tokens(&self, user_id: &str, count: usize) -> Result<Vec<String>> {
        let spent = self.mint(user_id, "", 1).await?.remove(0).refresh_token;
        self.refresh(&spent).await?;
        stream::iter(0..count)
            .map(|_| self.refresh(&spent))
            .buffer_unordered(PREPARING)
            .try_collect()
            .await
    }

    async fn refresh(&self, refresh_token: &str) -> Result<String> {
        let request = RefreshSessionRequest {
            refresh_token: refresh_token.to_owned(),
            client: None,
        };
        let refreshed = TokenServiceClient::new(self.channel.clone())
            .refresh_session(authorized(request)?)
            .await?;
        Ok(refreshed
            .into_inner()
            .tokens
            .ok_or("no tokens")?
            .access_token)
    }

    /// The connection for calls outside of the measurements.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

/// A request of the configured caller.
pub fn authorized<T>(message: T) -> Result<Request<T>> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {CALLER_TOKEN}").parse()?);
    Ok(request)
}

/// An address that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn command(home: &Path, address: SocketAddr, database: &str, issuer: &str) -> Result<Command> {
    let callers = home.join("callers.yaml");
    let hash = hex::encode(sha256(CALLER_TOKEN.as_bytes()));
    fs::write(
        &callers,
        format!(
            "callers: [{{ name: load, token_sha256: [{hash}], permissions: [{PERMISSIONS}] }}]"
        ),
    )?;
    let key = home.join("encryption-key");
    if !key.exists() {
        fs::write(&key, format!("load:{}", STANDARD.encode(random::<32>())))?;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .current_dir(home)
        .env_clear()
        .stdout(Stdio::null())
        .stderr(fs::File::create(home.join("log"))?);
    command
        .env("COUNTERSIGN_LISTEN", address.to_string())
        .env("DATABASE_URL", database)
        .env("COUNTERSIGN_CALLERS", callers);
    command.env("COUNTERSIGN_ENCRYPTION_KEYS_FILE", key);
    command
        .env("OPENID_ISSUER", issuer)
        .env("OPENID_CLIENT_ID", CLIENT_ID)
        .env("OPENID_CLIENT_SECRET", "secret-of-the-load");
    command
        .env("OPENID_ID_TOKEN_ALGS", "EdDSA")
        .env("ALLOW_SOCIAL_LOGIN", "true")
        .env("ALLOW_SOCIAL_REGISTRATION", "true");
    Ok(command)
}

async fn is_serving(endpoint: &Endpoint) -> bool {
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    let health = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    health.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}
