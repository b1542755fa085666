//! A real server with services that do what a test asks of them.

use std::net::SocketAddr;
use std::sync::Arc;

use countersign::caller::{Callers, Gate};
use countersign::clock::Clock;
use countersign::error::Error;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::auth_service_server::AuthService;
use countersign::grpc::proto::federation_service_server::FederationService;
use countersign::grpc::proto::moderation_service_server::ModerationService;
use countersign::grpc::proto::token_service_server::TokenService;
use countersign::grpc::proto::*;
use countersign::grpc::routes;
use countersign::health::{Health, Part};
use countersign::metrics::Metrics;
use countersign::server::{Serving, serve};
use countersign::tasks::Tasks;
use countersign::transport::{Listener, caller};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

/// Services whose ListProviders does what the metadata `do` says; all other methods return empty
/// answers.
#[derive(Clone)]
pub struct Probe {
    pub entered: Arc<Notify>,
    pub release: Arc<Notify>,
    /// Counts the work that was begun by `detach`.
    pub begun: Arc<Semaphore>,
    tasks: Tasks,
}

/// The size of a large answer, in bytes.
pub const LARGE: usize = 3_900_000;

macro_rules! service {
    ($trait:ident { $($method:ident: $request:ident => $response:ident,)* } $($own:item)*) => {
        #[tonic::async_trait]
        impl $trait for Probe {
            $($own)*
            $(async fn $method(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new($response::default()))
            })*
        }
    };
}

service!(AuthService {
    register: RegisterRequest => RegisterResponse,
    login: LoginRequest => LoginResponse,
    reauthenticate: ReauthenticateRequest => ReauthenticateResponse,
    logout: LogoutRequest => LogoutResponse,
    begin_federated_login: BeginFederatedLoginRequest => BeginFederatedLoginResponse,
    complete_federated_login: CompleteFederatedLoginRequest => CompleteFederatedLoginResponse,
    get_user: GetUserRequest => GetUserResponse,
    list_users: ListUsersRequest => ListUsersResponse,
}
async fn list_providers(&self, request: Request<ListProvidersRequest>) -> Result<Response<ListProvidersResponse>, Status> {
    let caller = caller(&request)?;
    match request.metadata().get("do").map(tonic::metadata::MetadataValue::as_bytes) {
        Some(b"fail") => Err(Error::StoreUnavailable("canary".into()))?,
        Some(b"panic") => panic!("as asked"),
        Some(b"wait") => {
            self.entered.notify_one();
            self.release.notified().await;
        }
        Some(b"detach") => {
            let (tasks, probe) = (self.tasks.clone(), self.clone());
            let work = tasks.spawn(async move {
                let released = probe.release.notified();
                probe.begun.add_permits(1);
                released.await;
            });
            work.await.expect("no panic");
        }
        Some(b"large") => {
            let provider = Provider { id: "x".repeat(LARGE), ..Provider::default() };
            return Ok(Response::new(ListProvidersResponse { providers: vec![provider] }));
        }
        Some(b"grow") => {
            let provider = Provider { id: "x".repeat(5 * 1024 * 1024), ..Provider::default() };
            return Ok(Response::new(ListProvidersResponse { providers: vec![provider] }));
        }
        _ => (),
    }
    let provider = Provider { id: caller.name().to_string(), ..Provider::default() };
    Ok(Response::new(ListProvidersResponse { providers: vec![provider] }))
});

service!(TokenService {
    mint_session: MintSessionRequest => MintSessionResponse,
    verify_token: VerifyTokenRequest => VerifyTokenResponse,
    batch_verify_tokens: BatchVerifyTokensRequest => BatchVerifyTokensResponse,
    refresh_session: RefreshSessionRequest => RefreshSessionResponse,
    revoke_session: RevokeSessionRequest => RevokeSessionResponse,
    revoke_user_sessions: RevokeUserSessionsRequest => RevokeUserSessionsResponse,
    list_sessions: ListSessionsRequest => ListSessionsResponse,
    exchange_token: ExchangeTokenRequest => ExchangeTokenResponse,
    list_signing_keys: ListSigningKeysRequest => ListSigningKeysResponse,
    rotate_signing_key: RotateSigningKeyRequest => RotateSigningKeyResponse,
    revoke_signing_key: RevokeSigningKeyRequest => RevokeSigningKeyResponse,
}
type WatchRevocationsStream = futures_util::stream::Empty<Result<WatchRevocationsResponse, Status>>;

async fn watch_revocations(&self, _: Request<WatchRevocationsRequest>) -> Result<Response<Self::WatchRevocationsStream>, Status> {
    Ok(Response::new(futures_util::stream::empty()))
});

service!(ModerationService {
    record_violation: RecordViolationRequest => RecordViolationResponse,
    check_access: CheckAccessRequest => CheckAccessResponse,
    ban_target: BanTargetRequest => BanTargetResponse,
    lift_ban: LiftBanRequest => LiftBanResponse,
    list_bans: ListBansRequest => ListBansResponse,
});

service!(FederationService {
    resolve_placeholders: ResolvePlaceholdersRequest => ResolvePlaceholdersResponse,
    resolve_endpoint: ResolveEndpointRequest => ResolveEndpointResponse,
    resolve_mcp_server: ResolveMcpServerRequest => ResolveMcpServerResponse,
    get_token_status: GetTokenStatusRequest => GetTokenStatusResponse,
    delete_tokens: DeleteTokensRequest => DeleteTokensResponse,
});

pub struct Running {
    pub address: SocketAddr,
    pub channel: Channel,
    pub probe: Probe,
    pub stop: oneshot::Sender<()>,
    pub served: JoinHandle<countersign::error::Result<()>>,
}

fn ready() -> Health {
    let health = Health::new();
    for part in [Part::Store, Part::Keys, Part::Migrations, Part::Start] {
        health.complete(part);
    }
    health
}

pub async fn start(callers: Callers) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let clock = Clock::system();
    let metrics = Metrics::new(&clock);
    let tasks = Tasks::new(clock, Arc::clone(&metrics.tasks));
    let probe = Probe {
        entered: Arc::default(),
        release: Arc::default(),
        begun: Arc::new(Semaphore::new(0)),
        tasks: tasks.clone(),
    };
    let routes = routes(&probe);
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let shutdown = async { stopped.await.expect("told to stop") };
        let listener = Listener {
            socket: listener,
            tls: None,
        };
        let gate = Gate::new(&callers, Clock::system(), Arc::clone(&metrics.callers));
        let serving = Serving {
            listener,
            health_listener: None,
            routes,
            gate,
            reflection: true,
            tasks,
            health: ready(),
            metrics: &metrics,
        };
        serve(serving, shutdown).await
    });
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an endpoint");
    Running {
        address,
        channel: endpoint.connect().await.expect("a connection"),
        probe,
        stop,
        served,
    }
}

impl Running {
    /// Another connection.
    pub async fn another(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address));
        let endpoint = endpoint.expect("an endpoint");
        endpoint.connect().await.expect("a connection")
    }
}

pub async fn ask(
    channel: &Channel,
    metadata: &[(&'static str, &str)],
) -> Result<Response<ListProvidersResponse>, Status> {
    let mut request = Request::new(ListProvidersRequest {});
    for (name, value) in metadata {
        request
            .metadata_mut()
            .append(*name, value.parse().expect("metadata"));
    }
    AuthServiceClient::new(channel.clone())
        .list_providers(request)
        .await
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.domain, "countersign.v1");
    info.reason
}

pub fn assert_failed(status: &Status, code: Code, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (code, expected));
    let id = status
        .get_details_request_info()
        .expect("RequestInfo")
        .request_id;
    assert_eq!(
        status
            .metadata()
            .get("x-request-id")
            .expect("the id in the trailers"),
        id.as_str()
    );
}
