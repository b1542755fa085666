//! What calls do while the store does not answer.

use std::time::Duration;

use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::feed::cache::WITHOUT_STORE;

/// How long a call waits for the store if it may be answered from memory otherwise.
const WAIT: Duration = Duration::from_secs(2);

/// What a call does while the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It is answered from memory for as long as that counts.
    Remember,
    /// It fails, because somebody would act on it.
    Fail,
}

/// Whether access tokens can be verified from memory if the store has been silent for so long.
#[must_use]
pub fn verifies_without_store(silence: Duration) -> bool {
    silence <= WITHOUT_STORE
}

/// The result of reading the store, which is not waited for long, because there is something in
/// memory that counts otherwise.
pub(super) async fn in_time<T>(
    is_silent: bool,
    read: impl Future<Output = Result<T>>,
) -> Result<T> {
    if is_silent {
        return Err(silent());
    }
    timeout(WAIT, read).await.unwrap_or_else(|_| Err(silent()))
}

/// Whether the store could not be read because it does not answer, or not as it should. A store that
/// has too much to do does answer.
pub(super) fn is_outage(error: &Error) -> bool {
    !matches!(error, Error::Busy { .. })
}

fn silent() -> Error {
    Error::StoreUnavailable("it did not answer in time".into())
}
