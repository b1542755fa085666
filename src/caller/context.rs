//! The calling backend.

use std::sync::Arc;

use super::file::{Caller, OPEN};
use super::limits::{CallPlace, Limits, Usage};
use super::permission::{Permission, Permissions};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::metrics::{CallerLimit, Callers as Metrics, Label as _};
use crate::repeats::Repeats;

/// What a caller lacks if it is refused tokens of an audience.
const AUDIENCE: &str = "audience";

/// The calling backend, as handlers see it.
#[derive(Debug)]
pub struct CallerContext {
    name: Arc<str>,
    permissions: Permissions,
    audiences: Vec<String>,
    scopes: Vec<String>,
    limits: Limits,
    history: Arc<History>,
}

/// What a caller has done in this process. It outlives a change of the callers' file.
#[derive(Debug)]
pub(super) struct History {
    clock: Clock,
    metrics: Arc<Metrics>,
    usage: Arc<Usage>,
    /// By what it lacked, or by the limit.
    refusals: Repeats<&'static str>,
}

impl History {
    pub(super) fn new(clock: Clock, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            refusals: Repeats::new(clock.clone()),
            clock,
            metrics,
            usage: Arc::default(),
        })
    }
}

impl CallerContext {
    pub(super) fn open(history: Arc<History>) -> Self {
        Self {
            name: OPEN.into(),
            permissions: Permission::ALL.iter().copied().collect(),
            audiences: Vec::new(),
            scopes: Vec::new(),
            limits: Limits::default(),
            history,
        }
    }

    pub(super) fn listed(caller: &Caller, history: Arc<History>) -> Self {
        Self {
            name: caller.name.as_str().into(),
            permissions: caller.permissions,
            audiences: caller.audiences.clone(),
            scopes: caller.scopes.clone(),
            limits: caller.limits,
            history,
        }
    }

    /// What it has done so far.
    pub(super) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// Its name; sessions belong to it.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it holds the permission.
    #[must_use]
    pub fn has(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Fails without the permission, for what an RPC allows beyond its own, such as the `.any`
    /// forms.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`]
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.has(permission) {
            return Ok(());
        }
        if let Some((_, unlogged)) = self.history.refusals.due(Some(permission.name())) {
            tracing::info!(
                caller = &*self.name,
                permission = permission.name(),
                unlogged,
                "a caller was refused"
            );
        }
        Err(Error::CallerNotAllowed(permission.name()))
    }

    /// Lets a call of it in, which is open until what this returns is dropped.
    ///
    /// # Errors
    /// [`Error::CallerTooFast`] and [`Error::CallerTooBusy`] beyond its limits.
    pub fn begin_call(&self) -> Result<Option<CallPlace>> {
        let History { clock, usage, .. } = &*self.history;
        let begun = self.limits.begin(usage, clock);
        begun.map_err(|exceeded| {
            let retry_after = exceeded.retry_after;
            self.history.metrics.limited(exceeded.limit);
            match exceeded.limit {
                CallerLimit::PerSecond => Error::CallerTooFast { retry_after },
                CallerLimit::Concurrent => Error::CallerTooBusy { retry_after },
            }
        })
    }

    /// Logs that a call was refused because of a limit.
    pub fn note_limited(&self, error: &Error) {
        let limit = match error {
            Error::CallerTooFast { .. } => CallerLimit::PerSecond,
            _ => CallerLimit::Concurrent,
        };
        if let Some((_, unlogged)) = self.history.refusals.due(Some(limit.value())) {
            tracing::info!(
                caller = &*self.name,
                limit = limit.value(),
                unlogged,
                "a caller has reached a limit of its own, and calls of it were refused"
            );
        }
    }

    /// Fails if it may not get, present or verify tokens of the audience.
    ///
    /// # Errors
    /// [`Error::AudienceNotAllowed`]
    pub fn require_audience(&self, audience: &str) -> Result<()> {
        if self.audiences.is_empty() || self.lists_audience(audience) {
            return Ok(());
        }
        Err(self.refuse_audience(audience))
    }

    /// Whether it may exchange tokens of the audience, and for it: one that it lists, or `own`, the
    /// service's, if it lists none.
    #[must_use]
    pub fn exchanges(&self, audience: &str, own: &str) -> bool {
        let is_open = *self.name == *OPEN;
        self.lists_audience(audience) || (self.audiences.is_empty() && (is_open || audience == own))
    }

    /// Fails if it may not exchange tokens for the audience.
    ///
    /// # Errors
    /// [`Error::AudienceNotAllowed`]
    pub fn require_exchange(&self, audience: &str, own: &str) -> Result<()> {
        if self.exchanges(audience, own) {
            return Ok(());
        }
        Err(self.refuse_audience(audience))
    }

    /// Whether a token that it exchanges may have the scope: a permission, or a name that it lists.
    #[must_use]
    pub fn knows_scope(&self, scope: &str) -> bool {
        Permission::named(scope).is_some() || self.scopes.iter().any(|known| known == scope)
    }

    fn lists_audience(&self, audience: &str) -> bool {
        self.audiences.iter().any(|allowed| allowed == audience)
    }

    fn refuse_audience(&self, audience: &str) -> Error {
        if let Some((_, unlogged)) = self.history.refusals.due(Some(AUDIENCE)) {
            tracing::info!(
                caller = &*self.name,
                audience,
                unlogged,
                "a caller was refused tokens of an audience"
            );
        }
        Error::AudienceNotAllowed(audience.to_owned())
    }
}
