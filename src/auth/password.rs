//! Passwords estimated and hashed (argon2id), as many at once as there are cores.

use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::policy::is_guessable;
use crate::error::{Error, Result};
use crate::model::account::User;
use crate::model::email::Email;
use crate::model::password::Password;
use crate::secret::ExposeSecret as _;

/// Calls that may wait for a core.
const QUEUE: usize = 64;
/// How long one waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// OWASP's minimum: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// What a stored hash may ask for at most; one that asks for more was not written here, and could take all memory.
const MOST_MEMORY_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 16;
/// The hash of no password, with the same parameters, so that unknown accounts take as long as known ones.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y291bnRlcnNpZ24gbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The bounded pool that passwords are estimated and hashed on.
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
    /// [`Error::Invalid`] where the password is too easily guessed for an account with these names, [`Error::Busy`] where too many wait.
    pub(super) async fn hash(&self, password: Password, account: &User) -> Result<String> {
        let email = account.email.as_ref().map_or("", Email::as_str).to_owned();
        let names = [email, account.name.clone(), account.username.clone()];
        self.run(move || {
            let password = normalized(&password);
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

    /// Whether the password is the hash's. Without a usable hash it takes as long, and is not.
    ///
    /// # Errors
    /// [`Error::Busy`] where too many wait.
    pub(super) async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool> {
        self.run(move || {
            let known = hash.and_then(|text| usable(&text));
            let is_known = known.is_some();
            let hash = known.map_or_else(|| PasswordHash::new(NOBODY).map_err(cause), Ok)?;
            Ok(hasher()?
                .verify_password(normalized(&password).as_bytes(), &hash)
                .is_ok()
                && is_known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let permit = self.permit().await.ok_or(Error::Busy {
            retry_after: PATIENCE,
        })?;
        let work = move || {
            let result = work();
            drop(permit);
            result
        };
        // A panic's text may quote a user's.
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Error::internal("the work on a password did not end"))
    }

    /// A place on a core, after a place in the queue.
    async fn permit(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.queue).try_acquire_owned().ok()?;
        let core = tokio::time::timeout(PATIENCE, Arc::clone(&self.cores).acquire_owned())
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

/// A stored hash that can be read and afforded; any other row is damaged, and no password opens it.
fn usable(text: &str) -> Option<PasswordHash> {
    let affordable =
        |params: &Params| params.m_cost() <= MOST_MEMORY_KIB && params.t_cost() <= MOST_PASSES;
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

/// The same text typed on another keyboard is the same password (NFC).
fn normalized(password: &Password) -> Zeroizing<String> {
    Zeroizing::new(password.secret().expose_secret().nfc().collect())
}

fn cause(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}
