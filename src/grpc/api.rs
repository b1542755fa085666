//! What all services share: the parts that they call, and how a call begins and ends.

use std::ops::Deref;
use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::on_drop::OnDrop;
use super::page::PageTokens;
use crate::auth::Auth;
use crate::caller::{CallerContext, Permission};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::federation::Federation;
use crate::id::SessionId;
use crate::moderation::Moderation;
use crate::secret::Keyring;
use crate::tasks::{Tasks, continued};
use crate::token::Tokens;
use crate::transport::{caller, permission, status};

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

/// The calling backend, with the permission that the called RPC declares.
pub(super) struct Calling {
    context: Arc<CallerContext>,
    pub(super) permission: Permission,
}

impl Deref for Calling {
    type Target = CallerContext;

    fn deref(&self) -> &CallerContext {
        &self.context
    }
}

/// A call as its handler sees it.
pub(super) struct Incoming<T> {
    pub(super) caller: Calling,
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

    /// The sessions and their tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Reads the clock, once for the whole call.
    pub(super) fn begin<T>(&self, request: Request<T>) -> Result<Incoming<T>, Status> {
        Ok(Incoming {
            caller: Calling {
                context: caller(&request).map_err(status)?,
                permission: permission(&request).map_err(status)?,
            },
            message: request.into_inner(),
            now: self.clock.now(),
        })
    }

    /// Ready once the service is told to stop.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        self.tasks.stopping()
    }

    /// Answers with the outcome of the work. The work runs to its end even if the caller goes away,
    /// because what follows a commit must not be cut off.
    pub(super) async fn run_to_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.finish(work).await.map(Response::new)
    }

    /// Runs a sign-in to its end, and returns its outcome. If the caller gives up before that, the
    /// session that it opened is ended: nobody has its tokens, and a new sign-in opens another one.
    pub(super) fn sign_in<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
        session: fn(&T) -> &SessionId,
    ) -> impl Future<Output = Result<T, Status>> + Send {
        let api = self.clone();
        let signing_in = self.finish(async move {
            let outcome = work.await?;
            let session = session(&outcome).clone();
            let tasks = api.tasks.clone();
            // If nobody waits for this task any more, its outcome is dropped, outside of the call.
            let abandon = continued(api.abandon(session));
            Ok((outcome, OnDrop::new(move || drop(tasks.spawn(abandon)))))
        });
        async move {
            let (outcome, abandon) = signing_in.await?;
            abandon.cancel();
            Ok(outcome)
        }
    }

    async fn abandon(self, session: SessionId) {
        self.auth.abandon(&session, self.clock.now()).await;
    }

    /// Runs the work in a task of its own, which begins at once. So the future that waits for it is
    /// small.
    fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Status>> + Send {
        let task = self.tasks.spawn(work);
        async move {
            // The text of a JoinError quotes the panic, which may quote what a user sent; so it is
            // dropped.
            let done = task
                .await
                .map_err(|_| status(Error::internal("the work of a call panicked")))?;
            done.map_err(status)
        }
    }
}

/// Answers with the outcome of the work, which is cancelled if the caller goes away.
pub(super) async fn answer<T>(
    work: impl Future<Output = Result<T>>,
) -> Result<Response<T>, Status> {
    work.await.map(Response::new).map_err(status)
}
