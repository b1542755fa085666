//! W3C Trace Context: where a call stands in the trace of its caller, and what a server is told.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-<32 digits>-<16 digits>-<2 digits>`
const LENGTH: usize = 55;
/// What is longer is not passed on. W3C asks for 512 characters at least.
const MAX_STATE: usize = 512;

static IS_OFF: AtomicBool = AtomicBool::new(false);

/// From now on callers do not say which trace a call is part of, and servers are told nothing.
pub fn switch_context_off() {
    IS_OFF.store(true, Ordering::Relaxed);
}

fn is_off() -> bool {
    IS_OFF.load(Ordering::Relaxed)
}

/// The caller's span, without the state of its vendors; `None` if `traceparent` is absent or
/// malformed.
pub(super) fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    if is_off() {
        return None;
    }
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let text = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (text, rest) = text.split_at_checked(LENGTH)?;
    let mut fields = text.split('-');
    let mut field = |digits: usize| fields.next().filter(|field| is_hex(field, digits));
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // A later version may append fields.
    let is_known = match version {
        "00" => rest.is_empty(),
        "ff" => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    (is_known && context.is_valid()).then_some(context)
}

/// The caller's span with the state of its vendors, unless that is malformed.
pub(super) fn caller_with_state(headers: &HeaderMap) -> Option<SpanContext> {
    let context = caller(headers)?;
    Some(SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags(),
        true,
        state(headers).unwrap_or_default(),
    ))
}

fn state(headers: &HeaderMap) -> Option<TraceState> {
    let mut whole = String::new();
    for part in headers.get_all(&TRACESTATE) {
        if !whole.is_empty() {
            whole.push(',');
        }
        whole.push_str(part.to_str().ok()?);
    }
    (whole.len() <= MAX_STATE).then(|| whole.parse().ok())?
}

/// Writes the headers that say which span a request is part of.
pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    if is_off() || !context.is_valid() {
        return;
    }
    let (trace, span) = (context.trace_id(), context.span_id());
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    if let Ok(value) = HeaderValue::try_from(format!("00-{trace}-{span}-{flags:02x}")) {
        headers.insert(TRACEPARENT.clone(), value);
    }
    let state = context.trace_state().header();
    if let Ok(value) = HeaderValue::try_from(state)
        && !value.is_empty()
    {
        headers.insert(TRACESTATE.clone(), value);
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append((*name).clone(), value.parse().expect("a value"));
        }
        headers
    }

    fn of(traceparent: &str) -> Option<SpanContext> {
        caller(&headers(&[(&TRACEPARENT, traceparent)]))
    }

    #[test]
    fn a_traceparent_is_read_and_one_of_a_later_version_too() {
        let context = of(GOOD).expect("good");
        assert_eq!(
            context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.is_remote());
        let unsampled = of(&GOOD.replace("-01", "-fe")).expect("unknown flags");
        assert_eq!(unsampled.trace_flags(), TraceFlags::NOT_SAMPLED);
        assert!(of(&format!("cc{}-more", &GOOD[2..])).is_some());
    }

    #[test]
    fn a_malformed_traceparent_is_ignored() {
        for text in [
            String::new(),
            "00".to_owned(),
            "00-0-0-0".to_owned(),
            GOOD.to_uppercase(),
            GOOD.replace("b7", "bé"),
            GOOD.replace('-', "_"),
            format!("ff{}", &GOOD[2..]),
            format!("{GOOD}-more"),
            format!("cc{}more", &GOOD[2..]),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("b7ad6b7169203331", "+7ad6b7169203331"),
        ] {
            let value = HeaderValue::from_bytes(text.as_bytes()).expect("a value");
            let mut headers = HeaderMap::new();
            headers.insert(&TRACEPARENT, value);
            assert!(caller(&headers).is_none(), "{text}");
        }
        let twice = headers(&[(&TRACEPARENT, GOOD), (&TRACEPARENT, GOOD)]);
        assert!(caller(&twice).is_none());
    }

    #[test]
    fn what_is_told_to_a_server_is_what_the_caller_told() {
        let given = headers(&[
            (&TRACEPARENT, GOOD),
            (&TRACESTATE, "vendor=1"),
            (&TRACESTATE, "other=2"),
        ]);
        let mut told = HeaderMap::new();
        inject(&caller_with_state(&given).expect("good"), &mut told);
        assert_eq!(told[&TRACEPARENT], GOOD);
        assert_eq!(told[&TRACESTATE], "vendor=1,other=2");
    }

    #[test]
    fn a_malformed_or_long_state_is_left_out() {
        for state in ["no equals sign", &format!("a={}", "x".repeat(MAX_STATE))] {
            let given = headers(&[(&TRACEPARENT, GOOD), (&TRACESTATE, state)]);
            let mut told = HeaderMap::new();
            inject(&caller_with_state(&given).expect("good"), &mut told);
            assert_eq!(told.len(), 1, "{state}");
        }
        let mut told = HeaderMap::new();
        inject(&SpanContext::NONE, &mut told);
        assert!(told.is_empty());
    }
}
