//! What is measured, and what it is compared with.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::grpc::proto::resolve_endpoint_request::Target;
use countersign::grpc::proto::subject::Subject as Kind;
use countersign::grpc::proto::{
    BatchVerifyTokensRequest, CheckAccessRequest, ExchangeTokenRequest, ResolveEndpointRequest,
    SignedIn, Subject, TokenPair, VerifyTokenRequest,
};
use prost::bytes::Bytes;
use prost_types::value::Kind as Json;
use prost_types::{Struct, Value};

use crate::calls::{self, Caller, Script, WORKERS, callers, end_user, frame};
use crate::closed_loop::{Figures, run};
use crate::process::{self, Process};
use crate::raw::Raw;
use crate::service::{Service, free_address};
use crate::table::Row;
use crate::{Result, echo};

/// Tokens per round that the service sees for the first time.
pub const FRESH: usize = 4_000;
/// Tokens in a BatchVerifyTokens.
const BATCH: usize = 100;
const VERIFY: &str = "/countersign.v1.TokenService/VerifyToken";
const BATCH_VERIFY: &str = "/countersign.v1.TokenService/BatchVerifyTokens";
const CHECK: &str = "/countersign.v1.ModerationService/CheckAccess";
const EXCHANGE: &str = "/countersign.v1.TokenService/ExchangeToken";
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
        let scripts = in_turn([frame(&vec![b'x'; request])]);
        let calls = Calls::new((server.id(), address), echo::PATH, scripts);
        self.echoes.push(server);
        Ok(self.add(name, None, Load::Calls(calls)))
    }

    /// Requests of one RPC in turn, compared with an echo whose messages are as long as the first
    /// request and its answer. Returns the echo's row.
    async fn beside_echo(
        &mut self,
        service: &Service,
        (name, path): (&str, &'static str),
        requests: Vec<Bytes>,
    ) -> Result<usize> {
        let first = requests.first().ok_or("no requests")?.clone();
        let asked = first.len() - calls::PREFIX;
        let answered = calls::ask(service.address, path, first).await?.len() - calls::PREFIX;
        let echo = format!("tonic echo, {asked} and {answered} bytes");
        let echo = self.echo(&echo, asked, answered).await?;
        let calls = Calls::new(service.server(), path, in_turn(requests));
        self.add(name, Some(echo), Load::Calls(calls));
        Ok(echo)
    }

    /// VerifyToken: for tokens that the service has seen, and for those that it has not.
    pub async fn verify(&mut self, service: &Service, tokens: &Tokens) -> Result<()> {
        let row = format!("VerifyToken, {} tokens in turn", tokens.seen.len());
        let echo = self
            .beside_echo(service, (&row, VERIFY), verify(&tokens.seen))
            .await?;
        for (row, tokens) in [
            ("VerifyToken, token first seen", &tokens.new),
            (
                "VerifyToken, token and session first seen",
                &tokens.of_new_sessions,
            ),
        ] {
            let mut calls = Calls::new(service.server(), VERIFY, in_turn([Bytes::new()]));
            calls.once = verify(tokens);
            self.add(row, Some(echo), Load::Calls(calls));
        }
        let batches = tokens.seen.chunks(BATCH).map(|tokens| {
            frame(&BatchVerifyTokensRequest {
                access_tokens: tokens.to_vec(),
                audience: String::new(),
            })
        });
        let row = format!("BatchVerifyTokens of {BATCH}");
        self.beside_echo(service, (&row, BATCH_VERIFY), batches.collect())
            .await?;
        Ok(())
    }

    /// ResolveEndpoint with three headers.
    pub async fn resolve(&mut self, service: &Service, access_tokens: &[String]) -> Result<()> {
        let requests = access_tokens.iter().map(|token| frame(&resolve(token)));
        let row = ("ResolveEndpoint, three headers", RESOLVE);
        self.beside_echo(service, row, requests.collect()).await?;
        Ok(())
    }

    /// ExchangeToken: a signature each, and no row in the store.
    pub async fn exchange(&mut self, service: &Service, access_tokens: &[String]) -> Result<()> {
        let request = |token: &String| {
            frame(&ExchangeTokenRequest {
                access_token: token.clone(),
                scopes: vec!["federation.resolve".to_owned()],
                ..ExchangeTokenRequest::default()
            })
        };
        let requests = access_tokens.iter().map(request);
        let row = ("ExchangeToken", EXCHANGE);
        self.beside_echo(service, row, requests.collect()).await?;
        Ok(())
    }

    /// CheckAccess of users and an address that are not banned.
    pub async fn check(
        &mut self,
        service: &Service,
        users: &[SignedIn],
        bans: usize,
    ) -> Result<()> {
        let requests = users.iter().filter_map(|signed_in| {
            Some(frame(&CheckAccessRequest {
                user_id: signed_in.user.as_ref()?.id.clone(),
                ip_address: end_user().ip_address,
            }))
        });
        let row = format!("CheckAccess beside {bans} bans");
        self.beside_echo(service, (&row, CHECK), requests.collect())
            .await?;
        Ok(())
    }

    /// RefreshSession, compared with the plain statement on the same database.
    pub fn refresh(
        &mut self,
        service: &Service,
        tokens: Vec<TokenPair>,
        url: &str,
        engine: &str,
    ) -> Result<()> {
        let bare = self.add(
            &format!("guarded UPDATE, {engine}"),
            None,
            Load::Raw(Raw::start(url)?),
        );
        let mut scripts = vec![VecDeque::new(); WORKERS];
        for (index, pair) in tokens.into_iter().enumerate() {
            scripts[index % WORKERS].push_back(pair.refresh_token);
        }
        let scripts = scripts.into_iter().map(Script::Refresh).collect();
        let calls = Calls::new(service.server(), REFRESH, scripts);
        self.add(
            &format!("RefreshSession, {engine}"),
            Some(bare),
            Load::Calls(calls),
        );
        Ok(())
    }
}

/// Access tokens to verify.
pub struct Tokens {
    pub seen: Vec<String>,
    /// Tokens that the service has not seen, `FRESH` for each round, a hundred of each session.
    pub new: Vec<String>,
    /// The same, each of a session of its own.
    pub of_new_sessions: Vec<String>,
}

/// A script for each caller: they send the requests in turn and begin at different ones.
fn in_turn(requests: impl Into<Arc<[Bytes]>>) -> Vec<Script> {
    let requests = requests.into();
    let step = requests.len().div_ceil(WORKERS);
    (0..WORKERS)
        .map(|worker| Script::Turn(Arc::clone(&requests), worker * step % requests.len()))
        .collect()
}

fn verify(access_tokens: &[String]) -> Vec<Bytes> {
    let request = |token: &String| {
        frame(&VerifyTokenRequest {
            access_token: token.clone(),
            audience: String::new(),
        })
    };
    access_tokens.iter().map(request).collect()
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
