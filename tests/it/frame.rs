//! The frame around the services, over a real connection: ids, errors, limits, panics, callers and the drain.

use std::sync::Arc;
use std::time::Duration;

use countersign::config::callers::{Caller, Callers, Permission};
use countersign::error::Error;
use countersign::grpc::caller::{Gate, caller};
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use countersign::grpc::proto::auth_service_server::AuthService;
use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::federation_service_server::FederationService;
use countersign::grpc::proto::moderation_service_server::ModerationService;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::token_service_server::TokenService;
use countersign::grpc::proto::*;
use countersign::secret::sha256;
use countersign::server::{Services, serve};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

/// Services whose ListProviders does what the metadata `do` says; the rest answers with nothing.
#[derive(Clone, Default)]
struct Probe {
    entered: Arc<Notify>,
    release: Arc<Notify>,
}

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

struct Running {
    channel: Channel,
    probe: Probe,
    stop: oneshot::Sender<()>,
    served: JoinHandle<countersign::error::Result<()>>,
}

async fn start(callers: Callers) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let probe = Probe::default();
    let services = Services {
        auth: probe.clone(),
        token: probe.clone(),
        moderation: probe.clone(),
        federation: probe.clone(),
    };
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let shutdown = async { stopped.await.expect("told to stop") };
        serve(listener, services, Gate::new(&callers), true, shutdown).await
    });
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an endpoint");
    Running {
        channel: endpoint.connect().await.expect("a connection"),
        probe,
        stop,
        served,
    }
}

async fn ask(
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

fn assert_failed(status: &Status, code: Code, expected: &str) {
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

#[tokio::test]
async fn a_request_id_comes_back_with_the_answer() {
    let server = start(Callers::Open).await;
    let answer = ask(&server.channel, &[("x-request-id", "mine")])
        .await
        .expect("an answer");
    assert_eq!(
        answer.metadata().get("x-request-id").expect("an id"),
        "mine"
    );
    assert_eq!(answer.get_ref().providers[0].id, "open");
}

#[tokio::test]
async fn a_request_without_a_usable_id_is_given_one() {
    let server = start(Callers::Open).await;
    let long = "x".repeat(129);
    let mut made = Vec::new();
    for metadata in [
        vec![],
        vec![("x-request-id", long.as_str())],
        vec![("x-request-id", "two words")],
    ] {
        let answer = ask(&server.channel, &metadata).await.expect("an answer");
        made.push(
            answer
                .metadata()
                .get("x-request-id")
                .expect("an id")
                .to_str()
                .expect("ASCII")
                .to_owned(),
        );
    }
    made.dedup();
    assert!(
        made.len() == 3 && made.iter().all(|id| id.len() == 32),
        "{made:?}"
    );
}

#[tokio::test]
async fn an_error_carries_reason_wait_and_request_id_but_no_cause() {
    let server = start(Callers::Open).await;
    let status = ask(&server.channel, &[("do", "fail"), ("x-request-id", "mine")])
        .await
        .expect_err("fails");
    assert_failed(&status, Code::Unavailable, "STORE_UNAVAILABLE");
    assert_eq!(
        status.metadata().get("x-request-id").expect("an id"),
        "mine"
    );
    assert_eq!(
        status
            .get_details_retry_info()
            .expect("RetryInfo")
            .retry_delay,
        Some(Duration::from_secs(1))
    );
    assert!(!format!("{status:?}").contains("canary"));
}

#[tokio::test]
async fn a_panic_ends_only_its_own_call() {
    let server = start(Callers::Open).await;
    let channel = server.channel.clone();
    let other = tokio::spawn(async move { ask(&channel, &[("do", "wait")]).await });
    server.probe.entered.notified().await;
    let status = ask(&server.channel, &[("do", "panic")])
        .await
        .expect_err("panics");
    assert_failed(&status, Code::Internal, "INTERNAL");
    server.probe.release.notify_one();
    assert!(other.await.expect("the task ends").is_ok());
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story told in order")]
async fn a_message_beyond_its_methods_limit_is_out_of_range() {
    let server = start(Callers::Open).await;
    let mut token = TokenServiceClient::new(server.channel.clone());
    let kib = |count: usize| "x".repeat(count * 1024);
    let verify = |size| VerifyTokenRequest {
        access_token: kib(size),
        ..VerifyTokenRequest::default()
    };
    assert_failed(
        &token
            .verify_token(verify(256))
            .await
            .expect_err("too large"),
        Code::OutOfRange,
        "MESSAGE_TOO_LARGE",
    );
    token
        .verify_token(verify(255))
        .await
        .expect("the connection still serves");

    let batch = |size| BatchVerifyTokensRequest {
        access_tokens: vec![kib(size)],
        ..BatchVerifyTokensRequest::default()
    };
    token.batch_verify_tokens(batch(2047)).await.expect("fits");
    assert_failed(
        &token
            .batch_verify_tokens(batch(2048))
            .await
            .expect_err("too large"),
        Code::OutOfRange,
        "MESSAGE_TOO_LARGE",
    );

    let mut federation = FederationServiceClient::new(server.channel.clone());
    let resolve = ResolvePlaceholdersRequest {
        entries: [("a".to_owned(), kib(1024))].into(),
        ..ResolvePlaceholdersRequest::default()
    };
    federation
        .resolve_placeholders(resolve)
        .await
        .expect("fits");
    let delete = DeleteTokensRequest {
        provider: kib(256),
        ..DeleteTokensRequest::default()
    };
    assert_failed(
        &federation
            .delete_tokens(delete)
            .await
            .expect_err("too large"),
        Code::OutOfRange,
        "MESSAGE_TOO_LARGE",
    );

    let check = HealthClient::new(server.channel.clone())
        .check(HealthCheckRequest { service: kib(256) })
        .await;
    assert_failed(
        &check.expect_err("too large"),
        Code::OutOfRange,
        "MESSAGE_TOO_LARGE",
    );
}

#[tokio::test]
async fn an_error_after_the_answer_began_is_whole_too() {
    let server = start(Callers::Open).await;
    let status = ask(&server.channel, &[("do", "grow")])
        .await
        .expect_err("an answer too large");
    assert_failed(&status, Code::OutOfRange, "MESSAGE_TOO_LARGE");
}

/// A call by its path, with any message.
async fn call<R: prost::Message + 'static>(
    channel: &Channel,
    path: &'static str,
    message: R,
) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<R, HealthCheckResponse>::default();
    grpc.unary(
        Request::new(message),
        http::uri::PathAndQuery::from_static(path),
        codec,
    )
    .await
    .expect_err("fails")
}

#[tokio::test]
async fn unknown_methods_and_broken_messages_have_their_reasons() {
    let server = start(Callers::Listed(vec![])).await;
    for path in [
        "/countersign.v1.AuthService/Nope",
        "/none.Such/Thing",
        "/grpc.health.v1.Health/Nope",
    ] {
        assert_failed(
            &call(&server.channel, path, HealthCheckRequest::default()).await,
            Code::Unimplemented,
            "METHOD_UNKNOWN",
        );
    }
    // Its first field is a number where text is due.
    let broken = prost_types::Duration {
        seconds: 1,
        nanos: 0,
    };
    let status = call(&server.channel, "/grpc.health.v1.Health/Check", broken).await;
    assert_failed(&status, Code::InvalidArgument, "MESSAGE_MALFORMED");
}

fn listed() -> Callers {
    let caller = |name: &str, token: &str, permission| Caller {
        name: name.into(),
        token_sha256: vec![sha256(token.as_bytes())],
        permissions: [permission].into(),
        audiences: vec![],
    };
    Callers::Listed(vec![
        caller("chat", "csc_chat", Permission::AuthSignIn),
        caller("gateway", "csc_gateway", Permission::TokenVerify),
    ])
}

#[tokio::test]
async fn only_a_known_caller_with_the_permission_gets_in() {
    let server = start(listed()).await;
    let chat = ("authorization", "Bearer csc_chat");
    let answer = ask(&server.channel, &[chat]).await.expect("an answer");
    assert_eq!(answer.get_ref().providers[0].id, "chat");
    for metadata in [
        vec![],
        vec![("authorization", "Bearer csc_none")],
        vec![chat, chat],
        vec![("x-caller", "chat")],
    ] {
        let status = ask(&server.channel, &metadata).await.expect_err("refused");
        assert_failed(&status, Code::Unauthenticated, "CALLER_UNKNOWN");
    }
    let status = ask(&server.channel, &[("authorization", "Bearer csc_gateway")])
        .await
        .expect_err("refused");
    assert_failed(&status, Code::PermissionDenied, "CALLER_NOT_ALLOWED");
    assert_eq!(
        status.get_details_error_info().expect("ErrorInfo").metadata["permission"],
        "auth.sign_in"
    );
}

#[tokio::test]
async fn health_answers_without_a_caller_and_for_known_services_only() {
    let server = start(listed()).await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in [
        "",
        "countersign.v1.AuthService",
        "countersign.v1.TokenService",
    ] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await
            .expect("an answer");
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving);
    }
    let status = health
        .check(HealthCheckRequest {
            service: "none".into(),
        })
        .await
        .expect_err("no such service");
    assert_failed(&status, Code::NotFound, "SERVICE_UNKNOWN");
}

#[tokio::test]
async fn reflection_lists_the_services_and_finds_the_details_of_errors() {
    let server = start(listed()).await;
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let asked = [
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol(
            "google.rpc.ErrorInfo".into(),
        )),
    ];
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter(asked))
        .await
        .expect("a stream")
        .into_inner();
    let mut next = async || {
        answers
            .message()
            .await
            .expect("good")
            .expect("a message")
            .message_response
            .expect("a response")
    };
    let MessageResponse::ListServicesResponse(list) = next().await else {
        panic!("not a list")
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    let ours = countersign::grpc::routes::SERVICE_NAMES;
    assert_eq!(ours.len(), 4);
    for name in ours.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
    assert!(matches!(
        next().await,
        MessageResponse::FileDescriptorResponse(_)
    ));
}

#[tokio::test]
async fn a_drain_tells_watchers_and_finishes_what_was_accepted() {
    let server = start(Callers::Open).await;
    let mut health = HealthClient::new(server.channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    assert_eq!(
        watch
            .message()
            .await
            .expect("good")
            .expect("a message")
            .status(),
        ServingStatus::Serving
    );
    let channel = server.channel.clone();
    let slow = tokio::spawn(async move { ask(&channel, &[("do", "wait")]).await });
    server.probe.entered.notified().await;

    server.stop.send(()).expect("still serving");
    assert_eq!(
        watch
            .message()
            .await
            .expect("good")
            .expect("a message")
            .status(),
        ServingStatus::NotServing
    );
    assert_failed(
        &watch.message().await.expect_err("the stream ends"),
        Code::Unavailable,
        "SHUTTING_DOWN",
    );
    assert!(!server.served.is_finished());
    server.probe.release.notify_one();
    assert!(slow.await.expect("the task ends").is_ok());
    server
        .served
        .await
        .expect("the server ends")
        .expect("in order");
}

#[tokio::test]
async fn a_stopped_server_accepts_nothing() {
    let server = start(Callers::Open).await;
    server.stop.send(()).expect("still serving");
    server
        .served
        .await
        .expect("the server ends")
        .expect("in order");
    let status = ask(&server.channel, &[])
        .await
        .expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable);
}
