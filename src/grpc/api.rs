//! What all services share: the parts that they call, and how a call begins and ends.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::page::PageTokens;
use crate::auth::Auth;
use crate::caller::CallerContext;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::federation::Federation;
use crate::moderation::Moderation;
use crate::secret::Keyring;
use crate::tasks::Tasks;
use crate::token::Tokens;
use crate::transport::{caller, status};

/// The parts that commands are given to.
#[derive(Clone, Debug)]
pub struct Parts {
    pub clock: Clock,
    pub tasks: Tasks,
    pub auth: Auth,
    pub tokens: Tokens,
    pub moderation: Moderation,
    pub federation: Federation,
}

/// Implements the services. Clones share everything.
#[derive(Clone, Debug)]
pub struct Api {
    clock: Clock,
    tasks: Tasks,
    pub(super) auth: Auth,
    pub(super) tokens: Tokens,
    pub(super) moderation: Moderation,
    pub(super) federation: Federation,
    pub(super) pages: Arc<PageTokens>,
}

/// A call as its handler sees it.
pub(super) struct Incoming<T> {
    pub(super) caller: Arc<CallerContext>,
    pub(super) message: T,
    pub(super) now: Timestamp,
}

impl Api {
    /// Puts the services on top of the parts.
    #[must_use]
    pub fn new(parts: Parts, keyring: &Keyring) -> Self {
        Self {
            clock: parts.clock,
            tasks: parts.tasks,
            auth: parts.auth,
            tokens: parts.tokens,
            moderation: parts.moderation,
            federation: parts.federation,
            pages: Arc::new(PageTokens::new(keyring)),
        }
    }

    /// Reads the clock, once for the whole call.
    pub(super) fn begin<T>(&self, request: Request<T>) -> Result<Incoming<T>, Status> {
        Ok(Incoming {
            caller: caller(&request).map_err(status)?,
            message: request.into_inner(),
            now: self.clock.now(),
        })
    }

    /// Answers with the outcome of the work. The work runs to its end even if the caller goes away,
    /// because what follows a commit must not be cut off.
    pub(super) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        // The text of a JoinError quotes the panic, which may quote what a user sent; so it is
        // dropped.
        let done = self
            .tasks
            .spawn(work)
            .await
            .map_err(|_| status(Error::internal("the work of a call panicked")))?;
        done.map(Response::new).map_err(status)
    }
}

/// Answers with the outcome of the work, which is cancelled if the caller goes away.
pub(super) async fn answer<T>(
    work: impl Future<Output = Result<T>>,
) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(status)
}
