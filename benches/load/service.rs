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
use countersign::grpc::proto::ban_target_request::Target;
use countersign::grpc::proto::begin_federated_login_response::NextStep;
use countersign::grpc::proto::complete_federated_login_response::Result::SignedIn as Done;
use countersign::grpc::proto::moderation_service_client::ModerationServiceClient;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::{
    BanTargetRequest, BeginFederatedLoginRequest, ClientContext, CompleteFederatedLoginRequest,
    MintSessionRequest, RefreshSessionRequest, SignedIn, TokenPair,
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
use crate::calls::end_user;
use crate::process::Process;
use crate::provider::CLIENT_ID;

/// The token of the calling backend.
pub const CALLER_TOKEN: &str = "csc_loadloadloadloadloadloadloadloadloadloadlo";
const PROVIDER: &str = "openid";
const PERMISSIONS: &str =
    "auth.sign_in, token.*, token.mint, federation.resolve, federation.inline, moderation.*";
/// Access tokens of one session: so few that they are issued within the grace time.
const PER_SESSION: usize = 100;
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

    /// Ends the process and starts another one on the same store, whose memory is empty.
    pub async fn restart(self, home: &Path, database: &str, issuer: &str) -> Result<Self> {
        drop(self);
        Self::start(home, database, issuer).await
    }

    /// The process id, and the address that it serves.
    pub fn server(&self) -> (u32, SocketAddr) {
        (self.process.id(), self.address)
    }

    /// Signs a number of new users in at the OpenID provider.
    pub async fn sign_in(&self, count: usize) -> Result<Vec<SignedIn>> {
        prepare(count, |number| self.sign_in_one(number)).await
    }

    async fn sign_in_one(&self, number: usize) -> Result<SignedIn> {
        let mut auth = AuthServiceClient::new(self.channel.clone());
        // Each from an address of its own, because logins from one address are limited.
        let [_, a, b, c] = u32::try_from(number)?.to_be_bytes();
        let client = Some(ClientContext {
            ip_address: format!("10.{a}.{b}.{c}"),
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

    /// Opens a number of sessions, each for the next one of the users.
    pub async fn mint(
        &self,
        users: &[SignedIn],
        device: &str,
        count: usize,
    ) -> Result<Vec<TokenPair>> {
        let mint = |number: usize| async move {
            let user = users[number % users.len()].user.as_ref().ok_or("no user")?;
            let client = ClientContext {
                device_name: device.to_owned(),
                ..end_user()
            };
            let request = MintSessionRequest {
                user_id: user.id.clone(),
                client: Some(client),
                ..Default::default()
            };
            let minted = TokenServiceClient::new(self.channel.clone())
                .mint_session(authorized(request)?)
                .await?;
            minted.into_inner().tokens.ok_or_else(|| "no tokens".into())
        };
        prepare(count, mint).await
    }

    /// A number of access tokens, a hundred of each session: within its grace time a used refresh
    /// token gives a new one each time.
    pub async fn access_tokens(&self, users: &[SignedIn], count: usize) -> Result<Vec<String>> {
        let mut access_tokens = Vec::with_capacity(count);
        for session in self.mint(users, "", count.div_ceil(PER_SESSION)).await? {
            let spent = session.refresh_token;
            self.refresh(&spent).await?;
            access_tokens.extend(prepare(PER_SESSION, |_| self.refresh(&spent)).await?);
        }
        access_tokens.truncate(count);
        Ok(access_tokens)
    }

    /// Bans a number of addresses.
    pub async fn ban(&self, count: usize) -> Result<()> {
        let ban = |number: usize| async move {
            let [_, a, b, c] = u32::try_from(number)?.to_be_bytes();
            let request = BanTargetRequest {
                target: Some(Target::IpAddress(format!("11.{a}.{b}.{c}"))),
                ..Default::default()
            };
            let mut moderation = ModerationServiceClient::new(self.channel.clone());
            moderation.ban_target(authorized(request)?).await?;
            Ok(())
        };
        prepare(count, ban).await.map(drop)
    }

    async fn refresh(&self, refresh_token: &str) -> Result<String> {
        let request = RefreshSessionRequest {
            refresh_token: refresh_token.to_owned(),
            client: Some(end_user()),
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
}

/// Makes a number of calls, many at a time.
async fn prepare<T, F: Future<Output = Result<T>>>(
    count: usize,
    call: impl Fn(usize) -> F,
) -> Result<Vec<T>> {
    stream::iter(0..count)
        .map(call)
        .buffer_unordered(PREPARING)
        .try_collect()
        .await
}

/// A request of the configured caller.
fn authorized<T>(message: T) -> Result<Request<T>> {
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
        .env("COUNTERSIGN_OPS_LISTEN", "off")
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
