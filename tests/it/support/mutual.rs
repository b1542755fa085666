//! A service whose callers are known by certificates.

use countersign::grpc::proto::ListProvidersRequest;
use countersign::grpc::proto::auth_service_client::AuthServiceClient;
use tempfile::NamedTempFile;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::authority::{Authority, Mounted};
use super::{Engine, World, reason};

/// Its authority, which signs its callers' certificates too, and its files.
pub struct Mutual {
    pub authority: Authority,
    pub files: Mounted,
    callers: NamedTempFile,
}

pub const CHAT: &str = "spiffe://example.org/chat";

impl Mutual {
    pub fn new(callers: &str) -> Self {
        let authority = Authority::new();
        let setup = Self {
            files: Mounted::new(&authority.server(), &authority),
            authority,
            callers: NamedTempFile::new().expect("a file"),
        };
        setup.list(callers);
        setup
    }

    /// The callers from now on.
    pub fn list(&self, callers: &str) {
        std::fs::write(self.callers.path(), format!("callers:\n{callers}")).expect("written");
    }

    pub async fn start<'a>(&self, engine: &'a Engine) -> World<'a> {
        let ([cert, key], ca) = (self.files.settings(), self.files.client_ca());
        let callers = self.callers.path().display().to_string();
        let settings = [cert, key, ca, ("COUNTERSIGN_CALLERS", callers)];
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, path)| (*name, &**path))
            .collect();
        World::start(engine, &settings).await
    }
}

pub fn by_names() -> String {
    format!(
        "  - {{ name: chat, spiffe_id: \"{CHAT}\", permissions: [auth.sign_in] }}\n  \
         - {{ name: agents, dns_san: Agents.example.org, permissions: [auth.sign_in] }}\n"
    )
}

pub async fn ask(channel: &Channel) -> Result<(), Status> {
    send(channel, Request::new(ListProvidersRequest {})).await
}

pub async fn send(channel: &Channel, request: Request<ListProvidersRequest>) -> Result<(), Status> {
    let mut auth = AuthServiceClient::new(channel.clone());
    auth.list_providers(request).await.map(drop)
}

pub fn is_unknown(answer: &Result<(), Status>) -> bool {
    let refusal = answer.as_ref().err().map(reason);
    refusal == Some((Code::Unauthenticated, "CALLER_UNKNOWN".to_owned()))
}
