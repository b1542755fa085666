//! What all services share: the parts they call, and how a call begins and ends.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::caller::{CallerContext, caller};
use super::page::PageTokens;
use super::status::status;
use super::unfinished::Unfinished;
use crate::auth::Auth;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::federation::Federation;
use crate::moderation::Moderation;
use crate::token::Tokens;

/// The parts that calls are translated to; each service is a clone of it.
#[derive(Clone, Debug)]
pub struct Api {
    pub(super) clock: Clock,
    pub(super) auth: Auth,
    pub(super) tokens: Tokens,
    pub(super) moderation: Moderation,
    pub(super) federation: Federation,
    pub(super) pages: Arc<PageTokens>,
    unfinished: Unfinished,
}

/// What a call asks for, as its handler sees it.
pub(super) struct Asked<T> {
    pub(super) caller: Arc<CallerContext>,
    pub(super) message: T,
    pub(super) now: Timestamp,
}

impl Api {
    /// Joins the parts.
    #[must_use]
    pub fn new(
        clock: Clock,
        auth: Auth,
        tokens: Tokens,
        moderation: Moderation,
        federation: Federation,
        pages: PageTokens,
    ) -> Self {
        Self {
            clock,
            auth,
            tokens,
            moderation,
            federation,
            pages: Arc::new(pages),
            unfinished: Unfinished::default(),
        }
    }

    /// Reads the clock, once for the whole call.
    pub(super) fn begin<T>(&self, request: Request<T>) -> Result<Asked<T>, Status> {
        Ok(Asked {
            caller: caller(&request).map_err(status)?,
            message: request.into_inner(),
            now: self.clock.now(),
        })
    }

    /// Answers with what the work gives, which goes on to its end even where the caller has gone: a commit is never left half told.
    pub(super) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let place = self.unfinished.enter();
        let task = tokio::spawn(async move {
            let _place = place;
            work.await
        });
        // What a JoinError says quotes the panic, whose text may quote a user's.
        let done = task
            .await
            .map_err(|_| status(Error::internal("the work of a call panicked")))?;
        done.map(Response::new).map_err(status)
    }

    /// The work that may outlive its call.
    #[must_use]
    pub fn unfinished(&self) -> Unfinished {
        self.unfinished.clone()
    }
}

/// Answers with what the work gives; it ends where the caller goes.
pub(super) async fn answer<T>(
    work: impl Future<Output = Result<T>>,
) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(status)
}
