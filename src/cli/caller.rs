//! `countersign caller new-token`.

use std::process::ExitCode;

use crate::caller::new_token as new_caller_token;
use crate::secret::{ExposeSecret, sha256};

#[expect(clippy::print_stdout, reason = "the answer of a subcommand")]
pub(super) fn new_token() -> ExitCode {
    let token = new_caller_token();
    let token = token.expose_secret();
    println!("token:        {token}");
    println!("token_sha256: {}", hex::encode(sha256(token.as_bytes())));
    println!();
    println!(
        "Give the token to the backend; it is not shown again. Put the SHA-256 under the backend's name in the callers' file."
    );
    ExitCode::SUCCESS
}
