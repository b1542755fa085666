//! Estimates how guessable passwords are and hashes them (argon2id), as many at once as there are
//! cores.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::policy::is_guessable;
use crate::error::{Error, Result};
use crate::model::account::User;
use crate::model::email::Email;
use crate::model::password::Password;

/// How many calls may wait for a core; further ones are refused at once.
const QUEUE: usize = 64;
/// How long a call waits for a core.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// OWASP's minimum: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The highest parameters of a stored hash. A hash with higher ones was not written here, and could
/// exhaust the memory.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;
/// A hash that no password matches, with the same parameters, so that unknown accounts take as long
/// as known ones.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y291bnRlcnNpZ24gbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A bounded pool for estimating and hashing passwords.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    queue: Arc<Semaphore>,
    cores: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            queue: Arc::new(Semaphore::new(QUEUE + cores)),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// The hash of an account's new password, in PHC text form.
    ///
    /// # Errors
    /// [`Error::PasswordGuessable`] if the password is too easily guessed for an account with these
    /// names, [`Error::Busy`] if too many calls wait or the wait is too long.
    pub(super) async fn hash(&self, password: Password, account: &User) -> Result<String> {
        let email = account.email.as_ref().map_or("", Email::as_str).to_owned();
        let names = [email, account.name.clone(), account.username.clone()];
        self.run(move || {
            let password = password.normalized();
            if is_guessable(&password, &names.each_ref().map(String::as_str)) {
                return Err(Error::PasswordGuessable);
            }
            hasher()?
                .hash_password(password.as_bytes())
                .map(|hash| hash.to_string())
                .map_err(cause)
        })
        .await?
    }

    /// Whether the password matches the hash. Without a usable hash it does not, and the answer
    /// takes as long.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many calls wait or the wait is too long.
    pub(super) async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool> {
        self.run(move || {
            let known = hash.and_then(|text| usable(&text));
            let is_known = known.is_some();
            let hash = known.map_or_else(|| PasswordHash::new(DUMMY_HASH).map_err(cause), Ok)?;
            Ok(hasher()?
                .verify_password(password.normalized().as_bytes(), &hash)
                .is_ok()
                && is_known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit().await.ok_or(Error::Busy {
            retry_after: MAX_WAIT,
        })?;
        // The permit moves into the task: hashing goes on if the call is cancelled, and still
        // occupies its core.
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        // The panic's text is dropped, because it may quote a password.
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Error::internal("estimating or hashing a password panicked"))
    }

    /// A place in the queue and then a core; `None` if the queue is full or the wait is too long.
    async fn permit(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.queue).try_acquire_owned().ok()?;
        let core = tokio::time::timeout(MAX_WAIT, Arc::clone(&self.cores).acquire_owned())
            .await
            .ok()?
            .ok()?;
        Some((place, core))
    }
}

fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Parses a stored hash; `None` if it is malformed or its parameters are too high. No password
/// matches such a hash.
fn usable(text: &str) -> Option<PasswordHash> {
    let affordable =
        |params: &Params| params.m_cost() <= MAX_MEMORY_KIB && params.t_cost() <= MAX_PASSES;
    let hash = PasswordHash::new(text)
        .ok()
        .filter(|hash| Params::try_from(hash).is_ok_and(|params| affordable(&params)));
    if hash.is_none() {
        tracing::error!(
            "a stored password hash is damaged; its account cannot sign in with a password"
        );
    }
    hash
}

fn cause(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}
