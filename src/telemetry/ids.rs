//! Adds the ids of the call to each line that is logged within it.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::trace::{self, Ids};

/// What a line of JSON ends with.
const END_OF_OBJECT: &str = "}\n";

/// The format `lines`, with the ids of the call.
pub(super) struct WithIds<F> {
    lines: F,
    format: LogFormat,
}

impl<F> WithIds<F> {
    pub(super) const fn new(lines: F, format: LogFormat) -> Self {
        Self { lines, format }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = trace::ids() else {
            return self.lines.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.lines
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&match self.format {
            LogFormat::Text => in_text(&line, &ids),
            LogFormat::Json => in_json(&line, &ids),
        })
    }
}

fn in_text(line: &str, ids: &Ids) -> String {
    let line = line.trim_end();
    let trace = ids.trace_id.as_ref();
    let trace = trace.map_or_else(String::new, |id| format!(" trace_id={id:?}"));
    format!("{line} request_id={:?}{trace}\n", ids.request_id)
}

fn in_json(line: &str, ids: &Ids) -> String {
    let Some(fields) = line.strip_suffix(END_OF_OBJECT) else {
        return line.to_owned();
    };
    let request = serde_json::Value::from(ids.request_id.as_str());
    let trace = ids.trace_id.as_ref();
    let trace = trace.map_or_else(String::new, |id| format!(r#","trace_id":"{id}""#));
    format!(r#"{fields},"request_id":{request}{trace}{END_OF_OBJECT}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(trace: Option<&str>) -> Ids {
        Ids {
            request_id: "a\"b".to_owned(),
            trace_id: trace.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_ends_with_the_ids_in_both_formats() {
        assert_eq!(
            in_text("INFO hello\n", &ids(Some("0f"))),
            "INFO hello request_id=\"a\\\"b\" trace_id=\"0f\"\n"
        );
        assert_eq!(
            in_text("INFO hello\n", &ids(None)),
            "INFO hello request_id=\"a\\\"b\"\n"
        );
        let line = in_json("{\"message\":\"hello\"}\n", &ids(Some("0f")));
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            object,
            serde_json::json!({"message": "hello", "request_id": "a\"b", "trace_id": "0f"})
        );
        let line = in_json("{\"message\":\"hello\"}\n", &ids(None));
        assert!(line.ends_with("\"request_id\":\"a\\\"b\"}\n"), "{line}");
    }
}
