//! Backends with static tokens, and the file of callers that lists them.

use std::fmt::Write as _;
use std::fs;

use countersign::caller::new_token;
use countersign::secret::{ExposeSecret as _, sha256};
use tempfile::NamedTempFile;
use tonic::Request;

/// A backend: its name, its tokens and its permissions.
pub struct Backend {
    name: String,
    tokens: Vec<String>,
    /// Lines of YAML such as `permissions: [auth.read]`.
    grants: String,
}

impl Backend {
    pub fn new(name: &str, permissions: &[&str]) -> Self {
        let token = new_token().expose_secret().to_owned();
        Self {
            name: name.to_owned(),
            tokens: vec![token],
            grants: format!("permissions: [{}]", permissions.join(", ")),
        }
    }

    /// Limits it to these audiences.
    pub fn audiences(mut self, audiences: &[&str]) -> Self {
        write!(self.grants, ", audiences: [{}]", audiences.join(", ")).expect("written");
        self
    }

    /// Lets tokens that it exchanges have these scopes.
    pub fn scopes(mut self, scopes: &[&str]) -> Self {
        write!(self.grants, ", scopes: [{}]", scopes.join(", ")).expect("written");
        self
    }

    /// Limits its calls, by a YAML object such as `{ per_second: 2 }`.
    pub fn limits(mut self, limits: &str) -> Self {
        write!(self.grants, ", limits: {limits}").expect("written");
        self
    }

    /// Adds another token and returns it.
    pub fn add_token(&mut self) -> String {
        self.tokens.push(new_token().expose_secret().to_owned());
        self.tokens[self.tokens.len() - 1].clone()
    }

    pub fn drop_first_token(&mut self) {
        self.tokens.remove(0);
    }

    /// A request that the backend sends.
    pub fn sends<T>(&self, message: T) -> Request<T> {
        sent_with(&self.tokens[0], message)
    }

    /// Its entry in the callers' file.
    pub fn entry(&self) -> String {
        let hashes: Vec<_> = self
            .tokens
            .iter()
            .map(|token| hex::encode(sha256(token.as_bytes())))
            .collect();
        format!(
            "  - {{ name: {}, token_sha256: [{}], {} }}\n",
            self.name,
            hashes.join(", "),
            self.grants
        )
    }
}

/// A request with a caller's token.
pub fn sent_with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(
        "authorization",
        format!("Bearer {token}").parse().expect("ASCII"),
    );
    request
}

/// The file for COUNTERSIGN_CALLERS.
pub struct CallersFile(NamedTempFile);

impl CallersFile {
    pub fn new(backends: &[&Backend]) -> Self {
        let file = Self(NamedTempFile::new().expect("a temporary file"));
        file.write(backends);
        file
    }

    /// Replaces its callers; a running service reads it within ten seconds.
    pub fn write(&self, backends: &[&Backend]) {
        let entries: String = backends.iter().map(|backend| backend.entry()).collect();
        fs::write(self.0.path(), format!("callers:\n{entries}")).expect("written");
    }

    pub fn path(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }
}

/// A file of callers, each given by name and permissions, and their tokens in the same order.
pub struct Listed {
    file: CallersFile,
    pub tokens: Vec<String>,
}

impl Listed {
    pub fn new(callers: &[(&str, &[&str])]) -> Self {
        let backends: Vec<_> = callers
            .iter()
            .map(|(name, permissions)| Backend::new(name, permissions))
            .collect();
        let file = CallersFile::new(&backends.iter().collect::<Vec<_>>());
        Self {
            file,
            tokens: backends
                .into_iter()
                .map(|mut backend| backend.tokens.remove(0))
                .collect(),
        }
    }

    /// The value of COUNTERSIGN_CALLERS.
    pub fn path(&self) -> String {
        self.file.path().to_owned()
    }
}
