//! The calling backend.

use std::sync::Arc;

use super::file::{Caller, OPEN};
use super::permission::{Permission, Permissions};
use crate::error::{Error, Result};

/// The calling backend, as handlers see it.
#[derive(Debug)]
pub struct CallerContext {
    name: Arc<str>,
    permissions: Permissions,
    audiences: Vec<String>,
}

impl CallerContext {
    pub(super) fn open() -> Self {
        Self {
            name: OPEN.into(),
            permissions: Permission::ALL.iter().copied().collect(),
            audiences: Vec::new(),
        }
    }

    pub(super) fn listed(caller: &Caller) -> Self {
        Self {
            name: caller.name.as_str().into(),
            permissions: caller.permissions,
            audiences: caller.audiences.clone(),
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
        tracing::info!(
            caller = &*self.name,
            permission = permission.name(),
            "a caller was refused"
        );
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
        tracing::info!(
            caller = &*self.name,
            audience,
            "a caller was refused tokens of an audience"
        );
        Err(Error::AudienceNotAllowed(audience.to_owned()))
    }
}
