//! Seals everything in the store anew with the first key of the ring, while services may use it.

use std::time::Duration;

use tokio::time::sleep;

use super::offline::open_alone;
use super::{App, StartError, close};
use crate::auth::reseal_logins;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::error::Result;
use crate::federation::TokenResealing;
use crate::model::sealed::{Refused, Resealing, Tally};
use crate::secret::Keyring;
use crate::store::{Opened, Store};
use crate::token::reseal_signing_keys;

/// Passes end once one of them finds nothing to do. A renewal of provider tokens that nobody ends is
/// waited for half a minute; services that seal with another key are not waited for.
const PASSES: usize = 45;
const BETWEEN_PASSES: Duration = Duration::from_secs(1);
/// So many rows that cannot be opened are named; the others are counted.
const NAMED: usize = 100;

/// The tables with sealed values, each by what its rows are. Canaries are not among them: each root
/// key seals its own.
const TABLES: [&str; 3] = ["signing keys", "sign-ins in progress", "provider tokens"];

/// How far a pass has come in a table.
#[derive(Debug)]
pub struct Progress {
    pub table: &'static str,
    /// What became of its rows so far.
    pub tally: Tally,
    /// Whether these are all.
    pub is_end: bool,
}

/// What became of the sealed values of a store.
#[derive(Debug)]
pub struct Reencrypted {
    /// The id of the key that seals now.
    pub key: String,
    /// How many rows of each table were sealed anew.
    pub resealed: [(&'static str, u64); 3],
    /// The rows that cannot be opened: the first hundred.
    pub refused: Vec<Refused>,
    /// How many rows cannot be opened.
    pub refused_rows: u64,
    /// How many rows the last pass still found to do: somebody seals with another key.
    pub left: u64,
    /// Whether the ring has other keys.
    pub has_other_keys: bool,
    /// When the last live session ends; until then a refresh token may be of use that another key of
    /// the ring made.
    pub sessions_end: Option<Timestamp>,
}

impl App {
    /// Seals everything in the store anew with the first key of the ring. What that key sealed already
    /// is left, so it can be interrupted at any moment and begun again.
    ///
    /// # Errors
    /// [`StartError`]; if the keys do not fit the store, nothing was changed.
    pub async fn reencrypt(
        config: Config,
        progress: impl FnMut(&Progress),
    ) -> Result<Reencrypted, StartError> {
        let Opened { store, keyring, .. } = open_alone(config).await?;
        let mut work = Work::new(store.clone(), keyring, progress);
        let done = work.run().await;
        close(&store).await;
        Ok(done?)
    }
}

struct Work<P> {
    store: Store,
    keyring: Keyring,
    clock: Clock,
    tokens: TokenResealing,
    progress: P,
}

/// What one pass over all tables found.
#[derive(Default)]
struct Pass {
    tallies: [Tally; TABLES.len()],
    refused: Vec<Refused>,
    refused_rows: u64,
}

impl Pass {
    fn of(&self, part: impl Fn(&Tally) -> u64) -> u64 {
        self.tallies.iter().map(part).sum()
    }

    fn left(&self) -> u64 {
        self.of(|tally| tally.resealed) + self.of(|tally| tally.in_use)
    }

    fn refuse(&mut self, refused: Vec<Refused>) {
        self.refused_rows += refused.len() as u64;
        let room = NAMED.saturating_sub(self.refused.len());
        self.refused.extend(refused.into_iter().take(room));
    }
}

impl<P: FnMut(&Progress)> Work<P> {
    fn new(store: Store, keyring: Keyring, progress: P) -> Self {
        let clock = Clock::system();
        let tokens = TokenResealing::new(store.clone(), keyring.clone(), clock.clone());
        Self {
            store,
            keyring,
            clock,
            tokens,
            progress,
        }
    }

    async fn run(&mut self) -> Result<Reencrypted> {
        self.tokens.prepare().await?;
        let mut resealed = TABLES.map(|table| (table, 0));
        let mut pass = self.pass().await?;
        for _ in 1..PASSES {
            for (sum, tally) in resealed.iter_mut().zip(&pass.tallies) {
                sum.1 += tally.resealed;
            }
            if pass.left() == 0 {
                break;
            }
            if pass.of(|tally| tally.in_use) > 0 {
                sleep(BETWEEN_PASSES).await;
            }
            pass = self.pass().await?;
        }
        Ok(Reencrypted {
            key: self.keyring.writer().id().to_owned(),
            resealed,
            left: pass.left(),
            refused: pass.refused,
            refused_rows: pass.refused_rows,
            has_other_keys: self.keyring.keys().count() > 1,
            sessions_end: self.store.last_session_end(self.clock.now()).await?,
        })
    }

    async fn pass(&mut self) -> Result<Pass> {
        let mut pass = Pass::default();
        let Self {
            store,
            keyring,
            tokens,
            progress,
            ..
        } = self;
        let mut table = Table::new(0, &mut pass, progress);
        let keys = async |after: Option<&String>| reseal_signing_keys(store, keyring, after).await;
        table.run(keys).await?;
        let mut table = Table::new(1, &mut pass, progress);
        let logins = async |after: Option<&String>| reseal_logins(store, keyring, after).await;
        table.run(logins).await?;
        let mut table = Table::new(2, &mut pass, progress);
        table.run(async |after| tokens.step(after).await).await?;
        Ok(pass)
    }
}

/// A table during a pass.
struct Table<'a, P> {
    number: usize,
    pass: &'a mut Pass,
    progress: &'a mut P,
}

impl<'a, P: FnMut(&Progress)> Table<'a, P> {
    fn new(number: usize, pass: &'a mut Pass, progress: &'a mut P) -> Self {
        Self {
            number,
            pass,
            progress,
        }
    }

    /// Takes the rows in the order of their keys, batch by batch.
    async fn run<K>(
        &mut self,
        step: impl AsyncFn(Option<&K>) -> Result<Resealing<K>>,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let done = step(after.as_ref()).await?;
            let tally = &mut self.pass.tallies[self.number];
            tally.add(done.tally);
            (self.progress)(&Progress {
                table: TABLES[self.number],
                tally: *tally,
                is_end: done.last.is_none(),
            });
            self.pass.refuse(done.refused);
            match done.last {
                None => return Ok(()),
                last => after = last,
            }
        }
    }
}
