//! Who templates are resolved for, and how.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::session::SessionState;
use crate::template::outcome::ResolveOptions;

/// Who a call's templates are resolved for, and how.
#[derive(Debug)]
pub struct ResolveContext {
    /// The live session and its user.
    pub state: Arc<SessionState>,
    /// LibreChat's body fields; empty where the call belongs to no request.
    pub body: HashMap<String, String>,
    /// The user's own variables; their names are checked by whoever reads the request, together with all else that may be wrong in it.
    pub custom_vars: HashMap<String, String>,
    /// The provider that placeholders without `@provider` mean; empty where the user has one.
    pub provider: String,
    /// Tokens have to last at least so long.
    pub min_ttl: Duration,
    pub options: ResolveOptions,
}
