//! Estimates how guessable passwords are and hashes them (argon2id), as many at once as there are
//! cores, and four at most.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zeroize::{Zeroize as _, Zeroizing};

use super::policy::is_guessable;
use crate::error::{Error, Result};
use crate::machine;
use crate::metrics::{self, Full, GaugeGuard, Hashing};
use crate::model::account::User;
use crate::model::email::Email;
use crate::model::password::Password;

/// How many hashes are computed at once at most. Each takes 19 MiB, and the budget of the memory
/// (`app/budget.rs`) sets this many aside.
const MAX_AT_ONCE: usize = 4;
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
/// What is reserved for the memory of a hash, of which only a part is used. glibc gives a block back
/// to the system when it is freed only if it is larger than 32 MiB; smaller ones may stay in the
/// process for good once one of their size was freed.
const RESERVED_KIB: usize = 33 * 1024;
/// Of the threads that hash; 0 is that of the others, 19 the highest. If both are ready, a thread of
/// this niceness gets about a quarter of a core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;
/// A hash that no password matches, with the same parameters, so that unknown accounts take as long
/// as known ones.
const DUMMY_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y291bnRlcnNpZ24gbm9ib2R5$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A bounded pool for estimating and hashing passwords.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    queue: Arc<Semaphore>,
    /// How many places the queue has.
    places: usize,
    cores: Arc<Semaphore>,
    memory: Arc<Memory>,
    metrics: Arc<metrics::Passwords>,
}

/// A place in the queue for a core.
#[derive(Debug)]
pub(super) struct Turn {
    /// Until it is dropped.
    place: Option<OwnedSemaphorePermit>,
    /// Until a core is free.
    waiting: Option<GaugeGuard>,
    passwords: Passwords,
}

impl Drop for Turn {
    /// Whoever leaves the queue last returns the memory to the system.
    fn drop(&mut self) {
        self.place.take();
        if self.passwords.queue.available_permits() == self.passwords.places {
            self.passwords.memory.clear();
        }
    }
}

impl Passwords {
    pub(super) fn new(metrics: Arc<metrics::Passwords>) -> Self {
        let cores = machine::cores().min(MAX_AT_ONCE);
        Self {
            queue: Arc::new(Semaphore::new(QUEUE + cores)),
            places: QUEUE + cores,
            cores: Arc::new(Semaphore::new(cores)),
            memory: Arc::default(),
            metrics,
        }
    }

    /// Takes a place in the queue. A sign-in takes it before anything else, so that one that is
    /// refused has cost nothing.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many calls wait.
    pub(super) fn enter(&self) -> Result<Turn> {
        let place = Arc::clone(&self.queue).try_acquire_owned();
        let place = place.map_err(|_| self.refuse(Full::NoPlace))?;
        Ok(Turn {
            place: Some(place),
            waiting: Some(GaugeGuard::new(self.metrics.calls.of(Hashing::Waiting))),
            passwords: self.clone(),
        })
    }

    /// The hash of an account's new password, in PHC text form.
    ///
    /// # Errors
    /// [`Error::PasswordGuessable`] if the password is too easily guessed for an account with these
    /// names, [`Error::Busy`] if the wait for a core is too long.
    pub(super) async fn hash(
        &self,
        turn: Turn,
        password: Password,
        account: &User,
    ) -> Result<String> {
        let email = account.email.as_ref().map_or("", Email::as_str).to_owned();
        let names = [email, account.name.clone(), account.username.clone()];
        self.run(turn, move |memory| {
            let password = password.normalized();
            if is_guessable(&password, &names.each_ref().map(String::as_str)) {
                return Err(Error::PasswordGuessable);
            }
            let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(cause)?;
            let mut hash = PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params).map_err(cause)?,
                salt: Some(Salt::generate()),
                hash: None,
            };
            hash.hash = Some(output(&hash, password.as_bytes(), memory)?);
            Ok(hash.to_string())
        })
        .await?
    }

    /// Whether the password matches the hash. Without a usable hash it does not, and the answer
    /// takes as long.
    ///
    /// # Errors
    /// [`Error::Busy`] if the wait for a core is too long.
    pub(super) async fn verify(
        &self,
        turn: Turn,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool> {
        self.run(turn, move |memory| {
            let known = hash.and_then(|text| usable(&text));
            let is_known = known.is_some();
            let hash = known.map_or_else(|| PasswordHash::new(DUMMY_HASH).map_err(cause), Ok)?;
            let computed = output(&hash, password.normalized().as_bytes(), memory)?;
            // Outputs are compared in constant time.
            Ok(hash.hash.is_some_and(|stored| stored == computed) && is_known)
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        mut turn: Turn,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(&self.cores).acquire_owned();
        let core = tokio::time::timeout(MAX_WAIT, core).await;
        let core = core.ok().and_then(Result::ok);
        let core = core.ok_or_else(|| self.refuse(Full::NoCore))?;
        turn.waiting = None;
        let running = GaugeGuard::new(self.metrics.calls.of(Hashing::Running));
        let passwords = self.clone();
        // The permits move into the task: hashing goes on if the call is cancelled, and still
        // occupies its core.
        let work = move || {
            let mut blocks = passwords.memory.take();
            let result = work(&mut blocks);
            blocks.iter_mut().zeroize();
            passwords.memory.keep(blocks);
            // In this order, so that no more are ever counted as running than there are cores.
            drop((turn, running, core));
            result
        };
        on_thread(work).await
    }

    fn refuse(&self, reason: Full) -> Error {
        self.metrics.refused.of(reason).inc();
        Error::Busy {
            retry_after: MAX_WAIT,
        }
    }
}

/// Does work that takes long on a thread of its own. Threads that serve calls run before it, so that a
/// flood of sign-ins delays other calls little.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (done, result) = oneshot::channel();
    let run = move || {
        yield_to_others();
        let _gave_up = done.send(work());
    };
    let thread = thread::Builder::new().name("password".to_owned());
    thread.spawn(run).map_err(cause)?;
    // The panic's text is dropped, because it may quote a password.
    result
        .await
        .map_err(|_| Error::internal("estimating or hashing a password panicked"))
}

/// Gives the calling thread a low priority. On Linux the call means a thread, elsewhere the process.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the priority of a thread could not be lowered");
    }
}

/// Memory in which hashes were computed, kept while other calls are in the queue, because getting it
/// from the system takes time. There is one for each core at most: a hash takes a kept one or makes
/// one, and puts it here before its core is free.
#[derive(Default)]
struct Memory(Mutex<Vec<Vec<Block>>>);

impl Memory {
    fn take(&self) -> Vec<Block> {
        let kept = self.lock().pop();
        kept.unwrap_or_else(|| Vec::with_capacity(RESERVED_KIB))
    }

    fn keep(&self, blocks: Vec<Block>) {
        // A stored hash may have wanted more.
        if blocks.capacity() <= RESERVED_KIB {
            self.lock().push(blocks);
        }
    }

    fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Memory").field(&self.lock().len()).finish()
    }
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

/// What the password becomes under the algorithm, the parameters and the salt of `hash`.
fn output(hash: &PasswordHash, password: &[u8], memory: &mut Vec<Block>) -> Result<Output> {
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(cause)?;
    let version = hash.version.map_or(Ok(Version::V0x13), Version::try_from);
    let params = Params::try_from(hash).map_err(cause)?;
    let salt = hash
        .salt
        .as_ref()
        .ok_or_else(|| cause("a hash without a salt"))?;
    memory.resize(params.block_count(), Block::new());
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let argon2 = Argon2::new(algorithm, version.map_err(cause)?, params);
    let mut bytes = Zeroizing::new(vec![0; length]);
    let done = argon2.hash_password_into_with_memory(password, salt, &mut bytes, memory);
    done.map_err(cause)?;
    Output::new(&bytes).map_err(cause)
}

fn cause(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Timestamp};
    use crate::id::UserId;
    use crate::metrics::Metrics;
    use crate::model::account::{LOCAL, Profile};

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn passwords() -> Passwords {
        Passwords::new(Metrics::new(&Clock::manual(NOW)).passwords)
    }

    fn password(text: &str) -> Password {
        Password::parse(text.to_owned()).expect("a password")
    }

    fn ann() -> User {
        User::new(
            UserId::new(NOW),
            LOCAL.to_owned(),
            Profile {
                email: None,
                email_verified: false,
                unverified_email: None,
                name: String::new(),
                username: String::new(),
                avatar_url: String::new(),
            },
            NOW,
        )
    }

    async fn verify(passwords: &Passwords, text: &str, hash: &str) -> bool {
        let turn = passwords.enter().expect("a place");
        let verified = passwords.verify(turn, password(text), Some(hash.to_owned()));
        verified.await.expect("an answer")
    }

    #[tokio::test]
    async fn hashes_are_those_of_the_crate_itself() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let (passwords, argon2) = (passwords(), Argon2::default());
        let turn = passwords.enter().expect("a place");
        let ann = ann();
        let ours = passwords.hash(turn, password("kestrel lantern orbit"), &ann);
        let ours = ours.await.expect("a hash");
        assert!(
            ours.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{ours}"
        );
        let check = |text: &str| argon2.verify_password(text.as_bytes(), ours.as_str());
        assert!(check("kestrel lantern orbit").is_ok() && check("other").is_err());
        let theirs = argon2
            .hash_password(b"kestrel lantern orbit")
            .expect("a hash");
        assert!(verify(&passwords, "kestrel lantern orbit", &theirs.to_string()).await);
        assert!(!verify(&passwords, "other", &theirs.to_string()).await);
    }

    #[tokio::test]
    async fn memory_is_kept_zeroed_for_those_who_wait_and_then_returned() {
        let passwords = passwords();
        let waiting = passwords.enter().expect("a place");
        assert!(!verify(&passwords, "any", DUMMY_HASH).await);
        {
            let kept = passwords.memory.lock();
            assert_eq!(kept.len(), 1);
            let is_zero = |block: &Block| block.as_ref().iter().all(|word| *word == 0);
            assert!(kept[0].len() == 19_456 && kept[0].iter().all(is_zero));
        }
        let last = passwords.verify(waiting, password("any"), None);
        assert!(!last.await.expect("an answer"));
        assert!(passwords.memory.lock().is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let passwords = passwords();
        let taken: Vec<_> = std::iter::repeat_with(|| passwords.enter())
            .take_while(Result::is_ok)
            .collect();
        assert_eq!(taken.len(), passwords.places);
        let metrics = &passwords.metrics;
        let waiting = metrics.calls.of(Hashing::Waiting);
        assert_eq!(usize::try_from(waiting.get()), Ok(passwords.places));
        assert_eq!(metrics.refused.of(Full::NoPlace).get(), 1);
        assert!(matches!(passwords.enter(), Err(Error::Busy { .. })));
        drop(taken);
        assert!(passwords.enter().is_ok());
    }
}
