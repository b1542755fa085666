//! Traces: the span of a call, the spans of what others do for it, and the ids that its log lines
//! carry.
//!
//! The spans are made by OpenTelemetry's interface and not by `tracing`, so that no log line, and no
//! field that a dependency logs, can become a part of what is exported. Without a tracer, asking for
//! a span costs the load of one variable.

mod call;
mod parent;

pub use call::{CallTrace, Ids, Span, attribute, client, continued, ids, start};
pub use parent::switch_context_off;
