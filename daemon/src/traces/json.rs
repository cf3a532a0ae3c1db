//! Spans as OTLP wants them in JSON: ids in hexadecimal, times in nanoseconds as text, kinds and states as numbers.

use serde_json::{Value as Json, json};

use super::spans::{Caller, Side, Span, Value};
use crate::domain::time::Timestamp;

/// Who tells.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    pub(super) daemon: String,
    pub(super) installation: String,
}

/// A request of these spans.
pub(super) fn request(teller: &Teller, spans: &[Span]) -> String {
    let resource = [
        ("service.name", "settled"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", teller.daemon.as_str()),
        ("settled.installation", teller.installation.as_str()),
    ];
    let resource: Vec<_> = resource.map(|(key, value)| attribute(key, &Value::Text(value.to_owned()))).into();
    let spans: Vec<_> = spans.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "settled" }, "spans": spans }],
    }] })
    .to_string()
}

fn span(span: &Span) -> Json {
    let kind = match span.side {
        Side::Within => 1,
        Side::Serving => 2,
        Side::Asking => 3,
    };
    let attributes: Vec<_> = span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let links: Vec<_> = span.links.iter().map(link).collect();
    let status = if span.failed { json!({ "code": 2 }) } else { json!({}) };
    let mut all = json!({
        "traceId": trace_id(span.trace),
        "spanId": span_id(span.id),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.from),
        "endTimeUnixNano": nanos(span.to),
        "attributes": attributes,
        "links": links,
        "status": status,
    });
    if let Some(parent) = span.parent {
        all["parentSpanId"] = span_id(parent).into();
    }
    all
}

fn link(caller: &Caller) -> Json {
    json!({ "traceId": trace_id(caller.trace), "spanId": span_id(caller.span) })
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn trace_id(id: u128) -> String {
    format!("{id:032x}")
}

fn span_id(id: u64) -> String {
    format!("{id:016x}")
}

fn nanos(at: Timestamp) -> String {
    (i128::from(at.0) * 1_000).to_string()
}
