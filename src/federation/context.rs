//! Who templates are resolved for, and how.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Destination;
use crate::model::session::SessionState;
use crate::template::outcome::ResolveOptions;
use crate::template::vocabulary::BodyField;

/// Who a call's templates are resolved for, and how.
#[derive(Debug)]
pub struct ResolveContext {
    /// The name of the calling backend.
    pub caller: Arc<str>,
    /// The live session and its user.
    pub state: Arc<SessionState>,
    /// The fields of the chat request's body; `None` if the call does not belong to a chat request.
    pub body: Option<HashMap<BodyField, String>>,
    /// The user's own variables. Their names were checked when the request was parsed, to report
    /// all mistakes at once.
    pub custom_vars: HashMap<String, String>,
    /// The provider that placeholders without `@provider` refer to; may be empty if the user has
    /// only one.
    pub provider: String,
    /// How long tokens have to last at least.
    pub min_ttl: Duration,
    /// Where the values are to be put, for the metrics.
    pub destination: Destination,
    pub options: ResolveOptions,
}
