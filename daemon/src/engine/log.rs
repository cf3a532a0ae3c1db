//! What the log tells of attempts: one line when one starts, one when it ends, whoever ends it. All carry the same fields.

use crate::domain::run::{Run, Subject};
use crate::domain::verdict::Outcome;

macro_rules! line {
    ($level:ident, $run:expr, $attempt:expr, [$($more:tt)*], $text:literal) => {{
        let (run, attempt) = ($run, $attempt);
        let (resource, package) = worked_on(run);
        tracing::$level!(
            run = %run.id, server = %run.server_name, operation = %run.operation, principal = %run.principal,
            resource, package, attempt, $($more)* $text
        )
    }};
}

/// The first line of an attempt.
pub fn attempt_starts(run: &Run) {
    line!(info, run, run.position().attempt, [], "attempt starts");
}

/// The last line of an attempt.
pub fn attempt_ended(run: &Run, attempt: u32) {
    match error(run) {
        None => line!(info, run, attempt, [], "attempt succeeded"),
        Some(error) => line!(warn, run, attempt, [error,], "attempt ended"),
    }
}

/// The last line of a run that time has ended.
pub fn settled_by_time(run: &Run) {
    let error = error(run).unwrap_or_default();
    line!(warn, run, run.position().attempt, [error,], "settled by time");
}

/// Resource and package; empty for a run on the server itself.
fn worked_on(run: &Run) -> (&str, &str) {
    match &run.subject {
        Subject::Server => ("", ""),
        Subject::Resource { name, package, .. } => (name, package),
    }
}

/// What went wrong, if it did.
fn error(run: &Run) -> Option<String> {
    match (run.verdict(), run.waiting()) {
        (Some(verdict), _) if verdict.outcome == Outcome::Succeeded => None,
        (Some(verdict), _) => {
            let reason = verdict.reason.map_or("", |r| r.as_str());
            Some(verdict.failure.as_ref().map_or_else(|| reason.to_owned(), |f| f.message.clone()))
        }
        (None, waiting) => waiting.map(|w| w.who.clone()),
    }
}
