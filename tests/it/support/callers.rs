//! Listed callers: their file, and requests in their name.

use std::fs;

use countersign::secret::{ExposeSecret as _, sha256};
use tempfile::NamedTempFile;
use tonic::Request;

/// A callers' file, and each caller's token by its place in the list.
pub struct Listed {
    file: NamedTempFile,
    pub tokens: Vec<String>,
}

impl Listed {
    /// Callers by name and permissions.
    pub fn new(callers: &[(&str, &[&str])]) -> Self {
        let file = NamedTempFile::new().expect("a file");
        let tokens: Vec<String> = callers.iter().map(|_| countersign::config::callers::new_token().expose_secret().to_owned()).collect();
        let entry = |((name, permissions), token): (&(&str, &[&str]), &String)| {
            let hash = hex::encode(sha256(token.as_bytes()));
            format!("- {{ name: {name}, token_sha256: [{hash}], permissions: [{}] }}\n", permissions.join(", "))
        };
        let list: String = callers.iter().zip(&tokens).map(entry).collect();
        fs::write(file.path(), format!("callers:\n{list}")).expect("written");
        Self { file, tokens }
    }

    /// What COUNTERSIGN_CALLERS is set to.
    pub fn path(&self) -> String {
        self.file.path().display().to_string()
    }
}

/// A request of the caller with this token.
pub fn as_caller<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    request
}
