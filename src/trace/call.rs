//! The spans of a call, and what identifies the call at work.

use std::borrow::Cow;
use std::sync::OnceLock;

use futures_util::future::Either;
use http::{HeaderMap, HeaderValue};
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceId,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use tokio::task::futures::TaskLocalFuture;

use super::parent;
use crate::metrics::{Label as _, StatusCode};

const ERROR_TYPE: &str = "error.type";

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: CallTrace;
}

/// Makes spans with this tracer from now on; an earlier one stays.
pub fn start(tracer: BoxedTracer) {
    let _an_earlier_one_stays = TRACER.set(tracer);
}

/// An attribute of a span.
pub fn attribute(name: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name, value)
}

/// What the log lines and the spans of one call have in common.
#[derive(Clone, Debug)]
pub struct CallTrace {
    request_id: HeaderValue,
    /// The caller's, or that of the call's own span; invalid if there is neither.
    trace_id: TraceId,
    /// Holds the call's span, if calls are traced.
    context: Context,
}

/// The ids that a log line carries.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    pub request_id: String,
    pub trace_id: Option<String>,
}

impl CallTrace {
    /// The call of a request, without a span.
    #[must_use]
    pub fn new(request_id: HeaderValue, headers: &HeaderMap) -> Self {
        let caller = parent::caller(headers);
        Self {
            request_id,
            trace_id: caller.map_or(TraceId::INVALID, |caller| caller.trace_id()),
            context: Context::new(),
        }
    }

    /// Begins the call's span, if calls are traced: a part of the caller's trace if the request
    /// names one, and otherwise of a new one.
    pub fn begin(&mut self, method: &'static str, headers: &HeaderMap) {
        let Some(tracer) = TRACER.get() else {
            return;
        };
        let caller = parent::caller_with_state(headers);
        // A context that holds an invalid span would count as one that is not sampled.
        let caller = caller.map_or_else(Context::new, |caller| {
            Context::new().with_remote_span_context(caller)
        });
        let builder = SpanBuilder::from_name(method)
            .with_kind(SpanKind::Server)
            .with_attributes([
                attribute("rpc.system.name", "grpc"),
                attribute("rpc.method", method),
            ]);
        let span = tracer.build_with_context(builder, &caller);
        self.trace_id = span.span_context().trace_id();
        self.context = Context::new().with_span(span);
    }

    /// Ends the call's span with a status code; what comes after the first end changes nothing.
    pub fn end(&self, code: StatusCode) {
        let span = self.context.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(attribute("rpc.response.status_code", code.value()));
        if is_our_failure(code) {
            span.set_attribute(attribute(ERROR_TYPE, code.value()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    /// Does the call's work.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// Does what does not wait as a part of the call.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }
}

/// Whether the service failed, and not its caller, as OpenTelemetry's conventions for RPCs tell them
/// apart.
const fn is_our_failure(code: StatusCode) -> bool {
    matches!(
        code,
        StatusCode::Unknown
            | StatusCode::DeadlineExceeded
            | StatusCode::Unimplemented
            | StatusCode::Internal
            | StatusCode::Unavailable
            | StatusCode::DataLoss
    )
}

/// Goes on with the current call's work in another task.
pub fn continued<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match CURRENT.try_with(CallTrace::clone) {
        Ok(call) => Either::Left(call.scope(work)),
        Err(_outside_of_a_call) => Either::Right(work),
    }
}

/// The ids of the current call; `None` outside of calls.
#[must_use]
pub fn ids() -> Option<Ids> {
    let ids = |call: &CallTrace| Ids {
        request_id: call.request_id.to_str().unwrap_or_default().to_owned(),
        trace_id: (call.trace_id != TraceId::INVALID).then(|| call.trace_id.to_string()),
    };
    CURRENT.try_with(ids).ok()
}

/// A request of the current call to a database or another service. Its span, if it has one, ends
/// when this is dropped.
#[derive(Debug)]
pub struct Span {
    span: Option<BoxedSpan>,
    context: SpanContext,
}

/// Begins the span of a request to a database or another service. There is none outside of calls,
/// nor if the call's own span is not sampled; then `describe`, which gives its name and attributes,
/// is not called.
pub fn client(describe: impl FnOnce() -> (Cow<'static, str>, Vec<KeyValue>)) -> Span {
    let Some(tracer) = TRACER.get() else {
        return Span::none(SpanContext::NONE);
    };
    let begin = |call: &CallTrace| {
        let of_call = call.context.span().span_context().clone();
        if !of_call.is_sampled() {
            return Span::none(of_call);
        }
        let (name, attributes) = describe();
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let span = tracer.build_with_context(builder, &call.context);
        Span {
            context: span.span_context().clone(),
            span: Some(span),
        }
    };
    let span = CURRENT.try_with(begin);
    span.unwrap_or_else(|_outside_of_a_call| Span::none(SpanContext::NONE))
}

impl Span {
    const fn none(context: SpanContext) -> Self {
        Self {
            span: None,
            context,
        }
    }

    /// Tells the server of a request which span the request is part of.
    pub fn inject(&self, headers: &mut HeaderMap) {
        parent::inject(&self.context, headers);
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set_attribute(attribute(name, value));
        }
    }

    /// Marks the request as failed by an error of this kind.
    pub fn fail(&mut self, kind: impl Into<Value>) {
        self.set(ERROR_TYPE, kind);
        if let Some(span) = &mut self.span {
            span.set_status(Status::error(""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn call(traceparent: Option<String>) -> CallTrace {
        let traceparent = traceparent.map(|text| text.parse().expect("a value"));
        let headers =
            traceparent.map(|value| (http::HeaderName::from_static("traceparent"), value));
        CallTrace::new(
            HeaderValue::from_static("request-1"),
            &headers.into_iter().collect(),
        )
    }

    #[tokio::test]
    async fn the_ids_of_a_call_are_known_to_its_work_and_to_what_goes_on_elsewhere() {
        let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
        let expected = Ids {
            request_id: "request-1".to_owned(),
            trace_id: Some(TRACE.to_owned()),
        };
        assert_eq!(ids(), None);
        let (here, elsewhere) = call(Some(parent))
            .scope(async {
                let task = tokio::spawn(continued(async { ids() }));
                (ids(), task.await.expect("no panic"))
            })
            .await;
        assert_eq!(here.as_ref(), Some(&expected));
        assert_eq!(elsewhere, Some(expected));
    }

    #[test]
    fn without_a_tracer_there_is_no_span_and_nothing_is_told_to_servers() {
        let mut call = call(None);
        call.begin("a.B/C", &HeaderMap::new());
        call.sync_scope(|| {
            let mut headers = HeaderMap::new();
            let span = client(|| unreachable!("nobody asks"));
            span.inject(&mut headers);
            assert!(headers.is_empty());
            assert_eq!(ids().expect("in a call").trace_id, None);
        });
    }
}
