//! What is measured, and what it is compared with.

use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::grpc::proto::federation_service_client::FederationServiceClient;
use countersign::grpc::proto::resolve_endpoint_request::Target;
use countersign::grpc::proto::subject::Subject as Kind;
use countersign::grpc::proto::token_service_client::TokenServiceClient;
use countersign::grpc::proto::{ResolveEndpointRequest, Subject, TokenPair, VerifyTokenRequest};
use prost::Message as _;
use prost::bytes::Bytes;
use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};

use crate::calls::{CONNECTIONS, Caller, IN_FLIGHT, Script, callers, frame};
use crate::closed_loop::{Figures, run};
use crate::process::{self, Process};
use crate::raw::Raw;
use crate::service::{Service, authorized, free_address};
use crate::table::Row;
use crate::{Result, echo, raw};

/// Tokens per round that the service sees for the first time.
pub const FRESH: usize = 4_000;
const WORKERS: usize = CONNECTIONS * IN_FLIGHT;
const VERIFY: &str = "/countersign.v1.TokenService/VerifyToken";
const REFRESH: &str = "/countersign.v1.TokenService/RefreshSession";
const RESOLVE: &str = "/countersign.v1.FederationService/ResolveEndpoint";
const HEADERS: [(&str, &str); 3] = [
    ("Authorization", "Bearer {{LIBRECHAT_OPENID_TOKEN}}"),
    ("X-User", "{{LIBRECHAT_OPENID_USER_ID}}"),
    ("X-Mail", "{{LIBRECHAT_USER_EMAIL}}"),
];

/// Something that can be measured for a while.
pub enum Load {
    /// Calls of a server.
    Calls(Calls),
    /// The plain statement.
    Raw(Raw),
}

/// Calls of the server with this process id.
pub struct Calls {
    pid: u32,
    address: SocketAddr,
    path: &'static str,
    /// What the callers send first. They connect only for their first round, because the service
    /// closes connections without calls.
    scripts: Vec<Script>,
    callers: Vec<Caller>,
    /// Requests that are sent only once, `FRESH` per round.
    once: Vec<Bytes>,
}

impl Load {
    /// Measures one round.
    pub async fn round(&mut self, time: Duration) -> Result<Figures> {
        match self {
            Self::Calls(calls) => calls.round(time).await,
            Self::Raw(raw) => raw.round(time),
        }
    }
}

impl Calls {
    fn new((pid, address): (u32, SocketAddr), path: &'static str, scripts: Vec<Script>) -> Self {
        Self {
            pid,
            address,
            path,
            scripts,
            callers: Vec::new(),
            once: Vec::new(),
        }
    }

    async fn round(&mut self, time: Duration) -> Result<Figures> {
        if !self.scripts.is_empty() {
            self.callers = callers(self.address, self.path, mem::take(&mut self.scripts)).await?;
        }
        if !self.once.is_empty() {
            let now = self.once.split_off(self.once.len().saturating_sub(FRESH));
            let script = Script::Each(Arc::new(Mutex::new(now)));
            self.callers
                .iter_mut()
                .for_each(|caller| caller.follow(script.clone()));
        }
        let (figures, callers) = run(mem::take(&mut self.callers), time, || {
            process::cpu(self.pid)
        })
        .await?;
        self.callers = callers;
        Ok(figures)
    }
}

/// The rows that were measured so far.
#[derive(Default)]
pub struct Plan {
    pub rows: Vec<Row>,
    loads: Vec<Load>,
    echoes: Vec<Process>,
}

impl Plan {
    fn add(&mut self, name: &str, against: Option<usize>, load: Load) -> usize {
        self.rows.push(Row {
            name: name.to_owned(),
            against,
            rounds: Vec::new(),
        });
        self.loads.push(load);
        self.rows.len() - 1
    }

    /// Measures everything once; the warm-up is not recorded.
    pub async fn round(&mut self, time: Duration, keep: bool) -> Result<()> {
        for (row, load) in self.rows.iter_mut().zip(&mut self.loads) {
            let figures = load.round(time).await?;
            if keep {
                row.rounds.push(figures);
            }
        }
        Ok(())
    }

    async fn echo(&mut self, name: &str, request: usize, answer: usize) -> Result<usize> {
        let address = free_address()?;
        let server = Process::start(
            Process::role("echo")?
                .arg(address.to_string())
                .arg(answer.to_string()),
        )?;
        while std::net::TcpStream::connect(address).is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let scripts = same(frame(&vec![b'x'; request]));
        let calls = Calls::new((server.id(), address), echo::PATH, scripts);
        self.echoes.push(server);
        Ok(self.add(name, None, Load::Calls(calls)))
    }

    /// VerifyToken: warm, and for tokens and sessions that were not seen before.
    pub async fn verify(
        &mut self,
        service: &Service,
        tokens: &TokenPair,
        user_id: &str,
        rounds: usize,
    ) -> Result<()> {
        let request = verify(&tokens.access_token);
        let answer = TokenServiceClient::new(service.channel())
            .verify_token(authorized(request.clone())?)
            .await?
            .into_inner();
        let (asked, answered) = (request.encoded_len(), answer.encoded_len());
        let echo = self
            .echo(
                &format!("tonic echo, {asked} and {answered} bytes"),
                asked,
                answered,
            )
            .await?;
        let server = (service.process.id(), service.address);
        let warm = Calls::new(server, VERIFY, same(frame(&request)));
        self.add("VerifyToken, warm", Some(echo), Load::Calls(warm));

        let mut known = Calls::new(server, VERIFY, same(Bytes::new()));
        for _ in 0..rounds {
            let tokens = service.access_tokens(user_id, FRESH).await?;
            known
                .once
                .extend(tokens.iter().map(|token| frame(&verify(token))));
        }
        self.add(
            "VerifyToken, token first seen",
            Some(echo),
            Load::Calls(known),
        );
        let mut unknown = Calls::new(server, VERIFY, same(Bytes::new()));
        let tokens = service.mint(user_id, "", FRESH * rounds).await?;
        unknown.once = tokens
            .iter()
            .map(|tokens| frame(&verify(&tokens.access_token)))
            .collect();
        self.add(
            "VerifyToken, token and session first seen",
            Some(echo),
            Load::Calls(unknown),
        );
        Ok(())
    }

    /// ResolveEndpoint with three headers.
    pub async fn resolve(&mut self, service: &Service, tokens: &TokenPair) -> Result<()> {
        let request = resolve(&tokens.access_token);
        let answer = FederationServiceClient::new(service.channel())
            .resolve_endpoint(authorized(request.clone())?)
            .await?
            .into_inner();
        let (asked, answered) = (request.encoded_len(), answer.encoded_len());
        let echo = self
            .echo(
                &format!("tonic echo, {asked} and {answered} bytes"),
                asked,
                answered,
            )
            .await?;
        let calls = Calls::new(
            (service.process.id(), service.address),
            RESOLVE,
            same(frame(&request)),
        );
        self.add(
            "ResolveEndpoint, three headers",
            Some(echo),
            Load::Calls(calls),
        );
        Ok(())
    }

    /// RefreshSession, compared with the plain statement on the same database.
    pub async fn refresh(
        &mut self,
        service: &Service,
        user_id: &str,
        url: &str,
        engine: &str,
    ) -> Result<()> {
        service.mint(user_id, raw::DEVICE, WORKERS).await?;
        let bare = self.add(
            &format!("guarded UPDATE in its transaction, {engine}"),
            None,
            Load::Raw(Raw::start(url)?),
        );
        let scripts = service
            .mint(user_id, "", WORKERS)
            .await?
            .into_iter()
            .map(|tokens| Script::Refresh(tokens.refresh_token));
        let calls = Calls::new(
            (service.process.id(), service.address),
            REFRESH,
            scripts.collect(),
        );
        self.add(
            &format!("RefreshSession, {engine}"),
            Some(bare),
            Load::Calls(calls),
        );
        Ok(())
    }
}

fn same(request: Bytes) -> Vec<Script> {
    vec![Script::Same(request); WORKERS]
}

fn verify(access_token: &str) -> VerifyTokenRequest {
    VerifyTokenRequest {
        access_token: access_token.to_owned(),
        audience: String::new(),
    }
}

fn resolve(access_token: &str) -> ResolveEndpointRequest {
    let text = |text: &str| Value {
        kind: Some(Json::StringValue(text.to_owned())),
    };
    let headers = HEADERS
        .iter()
        .map(|(name, template)| ((*name).to_owned(), text(template)))
        .collect();
    let headers = Value {
        kind: Some(Json::StructValue(Struct { fields: headers })),
    };
    let endpoint = [
        ("baseURL", text("https://llm.example.com/v1")),
        ("headers", headers),
    ];
    let endpoint = Struct {
        fields: endpoint
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    };
    ResolveEndpointRequest {
        subject: Some(Subject {
            subject: Some(Kind::AccessToken(access_token.to_owned())),
        }),
        target: Some(Target::Endpoint(endpoint)),
        ..Default::default()
    }
}
