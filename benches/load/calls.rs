//! Unary calls over plain HTTP/2. Requests are encoded beforehand, so that the client needs little
//! CPU time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use countersign::grpc::proto::{ClientContext, RefreshSessionRequest, RefreshSessionResponse};
use h2::client::SendRequest;
use http::Request;
use prost::Message;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::Result;
use crate::closed_loop::Worker;
use crate::service::CALLER_TOKEN;

/// Connections to one server.
pub const CONNECTIONS: usize = 4;
/// Calls in flight on each.
pub const IN_FLIGHT: usize = 32;
/// Callers of a server.
pub const WORKERS: usize = CONNECTIONS * IN_FLIGHT;
/// Compression flag and length before each message.
pub const PREFIX: usize = 5;
const WINDOW: u32 = 1 << 20;

/// What a worker sends.
#[derive(Clone)]
pub enum Script {
    /// These requests in turn, beginning with the one at the index.
    Turn(Arc<[Bytes]>, usize),
    /// Each request once.
    Each(Arc<Mutex<Vec<Bytes>>>),
    /// These refresh tokens in turn; the answer's token takes its predecessor's place.
    Refresh(VecDeque<String>),
}

impl Script {
    fn next(&mut self) -> Option<Bytes> {
        match self {
            Self::Turn(requests, next) => {
                let request = requests.get(*next).cloned();
                *next = (*next + 1) % requests.len().max(1);
                request
            }
            Self::Each(requests) => requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop(),
            Self::Refresh(tokens) => Some(frame(&RefreshSessionRequest {
                refresh_token: tokens.pop_front()?,
                client: Some(end_user()),
            })),
        }
    }

    fn answered(&mut self, answer: &[u8]) -> Result<()> {
        if let Self::Refresh(tokens) = self {
            let answer = RefreshSessionResponse::decode(answer)?;
            tokens.push_back(answer.tokens.ok_or("no tokens")?.refresh_token);
        }
        Ok(())
    }
}

/// The end user of a measured call. The address makes the service look for bans.
pub fn end_user() -> ClientContext {
    ClientContext {
        ip_address: "203.0.113.7".to_owned(),
        ..ClientContext::default()
    }
}

/// A message as it is sent.
pub fn frame(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX + message.encoded_len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// Makes one call after the other.
pub struct Caller {
    client: SendRequest<Bytes>,
    request: Request<()>,
    script: Script,
}

/// A caller for each script, spread over the connections.
pub async fn callers(address: SocketAddr, path: &str, scripts: Vec<Script>) -> Result<Vec<Caller>> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect(address).await?);
    }
    let callers = scripts
        .into_iter()
        .zip(clients.iter().cycle())
        .map(|(script, client)| {
            let request = Request::post(format!("http://{address}{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("authorization", format!("Bearer {CALLER_TOKEN}"));
            Ok(Caller {
                client: client.clone(),
                request: request.body(())?,
                script,
            })
        });
    callers.collect()
}

/// Makes one call on a connection of its own.
pub async fn ask(address: SocketAddr, path: &str, message: Bytes) -> Result<Bytes> {
    let script = Script::Turn([message.clone()].into(), 0);
    let mut caller = callers(address, path, vec![script]).await?;
    caller.pop().ok_or("no caller")?.call(message).await
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake(stream)
        .await?;
    tokio::spawn(connection);
    Ok(client)
}

impl Caller {
    /// Gives the caller something else to send.
    pub fn follow(&mut self, script: Script) {
        self.script = script;
    }

    async fn call(&mut self, message: Bytes) -> Result<Bytes> {
        self.client = self.client.clone().ready().await?;
        let (response, mut stream) = self.client.send_request(self.request.clone(), false)?;
        stream.send_data(message, true)?;
        let response = response.await?;
        let early = response.headers().get("grpc-status").cloned();
        let mut body = response.into_body();
        let mut answer = Bytes::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            answer = if answer.is_empty() {
                chunk
            } else {
                [answer, chunk].concat().into()
            };
        }
        let status = body
            .trailers()
            .await?
            .and_then(|trailers| trailers.get("grpc-status").cloned())
            .or(early);
        match status {
            Some(code) if code == "0" => Ok(answer),
            code => Err(format!("{} answered with status {code:?}", self.request.uri()).into()),
        }
    }
}

impl Worker for Caller {
    async fn ask(&mut self) -> Result<bool> {
        let Some(message) = self.script.next() else {
            return Ok(false);
        };
        let answer = self.call(message).await?;
        self.script
            .answered(answer.get(PREFIX..).ok_or("no message")?)?;
        Ok(true)
    }
}
