//! The calling backend.

use std::sync::Arc;

use super::file::{Caller, OPEN};
use super::permission::{Permission, Permissions};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::repeats::Repeats;

/// What a caller lacks if it is refused tokens of an audience.
const AUDIENCE: &str = "audience";

/// The calling backend, as handlers see it.
#[derive(Debug)]
pub struct CallerContext {
    name: Arc<str>,
    permissions: Permissions,
    audiences: Vec<String>,
    /// By what it lacked.
    refusals: Repeats<&'static str>,
}

impl CallerContext {
    pub(super) fn open(clock: Clock) -> Self {
        Self {
            name: OPEN.into(),
            permissions: Permission::ALL.iter().copied().collect(),
            audiences: Vec::new(),
            refusals: Repeats::new(clock),
        }
    }

    pub(super) fn listed(caller: &Caller, clock: Clock) -> Self {
        Self {
            name: caller.name.as_str().into(),
            permissions: caller.permissions,
            audiences: caller.audiences.clone(),
            refusals: Repeats::new(clock),
        }
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
        if let Some((_, unlogged)) = self.refusals.due(Some(permission.name())) {
            tracing::info!(
                caller = &*self.name,
                permission = permission.name(),
                unlogged,
                "a caller was refused"
            );
        }
        Err(Error::CallerNotAllowed(permission.name()))
    }

    /// Fails if it may not get, present or verify tokens of the audience.
    ///
    /// # Errors
    /// [`Error::AudienceNotAllowed`]
    pub fn require_audience(&self, audience: &str) -> Result<()> {
        let allowed =
            self.audiences.is_empty() || self.audiences.iter().any(|allowed| allowed == audience);
        if allowed {
            return Ok(());
        }
        if let Some((_, unlogged)) = self.refusals.due(Some(AUDIENCE)) {
            tracing::info!(
                caller = &*self.name,
                audience,
                unlogged,
                "a caller was refused tokens of an audience"
            );
        }
        Err(Error::AudienceNotAllowed(audience.to_owned()))
    }
}
