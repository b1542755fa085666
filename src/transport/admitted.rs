//! What a handler learns of the call that the gate admitted.

use std::sync::Arc;

use crate::caller::{CallerContext, Permission};
use crate::error::{Error, Result};

/// The caller of a request that the gate admitted.
///
/// # Errors
/// [`Error::CallerUnknown`] if the request was admitted without a caller.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Arc<CallerContext>> {
    request
        .extensions()
        .get::<Arc<CallerContext>>()
        .cloned()
        .ok_or(Error::CallerUnknown)
}

/// The permission that the RPC of a request declares.
///
/// # Errors
/// [`Error::CallerUnknown`] if the request was admitted without a caller.
pub fn permission<T>(request: &tonic::Request<T>) -> Result<Permission> {
    let permission = request.extensions().get().copied();
    permission.ok_or(Error::CallerUnknown)
}
