//! Spans of a run, made from what the store has of it.

use sha2::{Digest as _, Sha256};

use super::Call;
use crate::domain::id::RunId;
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::step::StepState;
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Outcome, Reason};
use crate::store::rows::StepRecord;

/// Which side of what a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Within,
    Serving,
    Asking,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(i64),
}

/// A span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    pub(super) side: Side,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) failed: bool,
    pub(super) links: Vec<Caller>,
}

/// A span of somebody else: its trace and its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its trace.
    pub trace: u128,
    /// Its id.
    pub span: u64,
}

impl Caller {
    /// As a `traceparent` header names it. What is not of that form names nobody.
    pub fn read(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let later = version != "00";
        let fits = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !fits || (!later && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        (trace != 0 && span != 0).then_some(Self { trace, span })
    }
}

/// The id of a span, from its run and what it is: whoever tells of it twice tells of the same span.
fn id(run: RunId, what: &str) -> u64 {
    let mut digest = Sha256::new();
    digest.update(run.0.0.to_be_bytes());
    digest.update(what);
    let digest: [u8; 32] = digest.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    // Zero names no span.
    u64::from_be_bytes(first).max(1)
}

/// The span that all others are within.
fn root(run: RunId) -> u64 {
    id(run, "run")
}

fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

fn within(run: RunId, what: &str, name: String, (from, to): (Timestamp, Timestamp)) -> Span {
    let attributes = vec![("settled.run", text(run.to_string()))];
    let (id, parent) = (id(run, what), Some(root(run)));
    let (side, failed, links) = (Side::Within, false, Vec::new());
    Span { trace: run.0.0, id, parent, name, side, from, to, attributes, failed, links }
}

/// The call, in the trace of each run that it asked for.
pub(super) fn of_call(call: &Call) -> impl Iterator<Item = Span> + '_ {
    call.runs.iter().map(|run| {
        let what = format!("call {} {}", call.method, call.began.0);
        let mut span = within(*run, &what, call.method.to_owned(), (call.began, call.ended));
        span.side = Side::Serving;
        span.failed = call.code != 0;
        let (service, method) = call.method.split_once('.').unwrap_or_default();
        span.attributes.push(("rpc.system", text("grpc")));
        span.attributes.push(("rpc.service", text(format!("settled.v1.{service}"))));
        span.attributes.push(("rpc.method", text(method)));
        span.attributes.push(("rpc.grpc.status_code", Value::Number(i64::from(call.code))));
        span.links.extend(call.caller);
        span
    })
}

/// Everything that the store has of a run that has ended, and the connects to its server while it was open.
pub(super) fn of_run(run: &Run, steps: &[StepRecord], connects: &[(Timestamp, Timestamp)]) -> Vec<Span> {
    let RunState::Completed { started_at, verdict, .. } = &run.state else { return Vec::new() };
    let end = verdict.at;
    let mut spans = vec![whole(run, end, verdict.outcome, verdict.reason.map(Reason::as_str))];
    let started = started_at.unwrap_or(end);
    spans.push(within(run.id, "wait", "wait for the lane".to_owned(), (run.accepted_at, started)));
    let open = connects.iter().filter(|(from, to)| *from >= run.accepted_at && *to <= end);
    for (from, to) in open {
        let what = format!("connect {}", from.0);
        let mut span = within(run.id, &what, "connect".to_owned(), (*from, *to));
        span.side = Side::Asking;
        spans.push(span);
    }
    for of_attempt in steps.chunk_by(|a, b| a.id.attempt == b.id.attempt) {
        // The last one of a run that succeeded did, too, even if only a probe has proven it.
        let is_well = verdict.outcome == Outcome::Succeeded && of_attempt.last() == steps.last();
        attempt(run, of_attempt, end, is_well, &mut spans);
    }
    spans
}

fn whole(run: &Run, end: Timestamp, outcome: Outcome, reason: Option<&str>) -> Span {
    let (package, resource) = match &run.subject {
        Subject::Server => ("", ""),
        Subject::Resource { name, package, .. } => (package.as_str(), name.as_str()),
    };
    let operation = run.operation.as_str();
    let name = if package.is_empty() { operation.to_owned() } else { format!("{operation} {package}") };
    let mut span = within(run.id, "run", name, (run.accepted_at, end));
    span.parent = None;
    span.failed = outcome != Outcome::Succeeded;
    for (key, value) in [
        ("settled.server", run.server_name.as_str()),
        ("settled.operation", operation),
        ("settled.package", package),
        ("settled.resource", resource),
        ("settled.principal", run.principal.as_str()),
        ("settled.outcome", outcome.as_str()),
        ("settled.reason", reason.unwrap_or_default()),
    ] {
        if !value.is_empty() {
            span.attributes.push((key, text(value)));
        }
    }
    span.links.extend(run.retry_of.map(|retried| Caller { trace: retried.0.0, span: root(retried) }));
    span
}

/// An attempt with its tries; what has no end yet when the run ends, since nobody knows it, ends with the run.
fn attempt(run: &Run, steps: &[StepRecord], end: Timestamp, is_well: bool, spans: &mut Vec<Span>) {
    let ended = |step: &StepRecord| step.ended_at.unwrap_or(end);
    let (Some(first), Some(last)) = (steps.first(), steps.iter().map(ended).max()) else { return };
    let what = format!("attempt {}", first.id.attempt);
    let number = ("settled.attempt", Value::Number(i64::from(first.id.attempt)));
    let mut of_attempt = within(run.id, &what, what.clone(), (first.started_at, last));
    of_attempt.failed = !is_well && steps.last().is_some_and(failed);
    of_attempt.attributes.push(number.clone());
    let parent = of_attempt.id;
    spans.push(of_attempt);
    for step in steps {
        let period = (step.started_at, ended(step));
        let mut span = within(run.id, &format!("step {}", step.id), step.title.clone(), period);
        span.parent = Some(parent);
        span.side = Side::Asking;
        span.failed = failed(step);
        span.attributes.push(number.clone());
        span.attributes.push(("settled.step", Value::Number(i64::from(step.id.step) + 1)));
        span.attributes.push(("settled.try", Value::Number(i64::from(step.id.try_no))));
        span.attributes.push(("settled.step.state", text(step.state.as_str())));
        if let Some(code) = step.exit_code {
            span.attributes.push(("settled.exit_code", Value::Number(i64::from(code))));
        }
        spans.push(span);
    }
}

fn failed(step: &StepRecord) -> bool {
    step.state != StepState::Exited || step.exit_code != Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_by_a_traceparent_that_is_one() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let caller = Caller { trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span: 0xb7ad_6b71_6920_3331 };
        assert_eq!(Caller::read(good), Some(caller));
        assert_eq!(Caller::read(&format!("01{}-more", &good[2..])), Some(caller), "of a later version");
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033310-01",
        ] {
            assert_eq!(Caller::read(bad), None, "{bad}");
        }
    }
}
