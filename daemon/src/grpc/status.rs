//! The one place where a refusal becomes a gRPC status: its reason, its sentence, and `google.rpc` details that programs can use.
//!
//! A status travels in HTTP/2 trailers, and clients refuse long ones: everything in it has a bound.

use std::collections::HashMap;
use std::time::Duration;

use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation};

use super::reason::Reason;
use crate::auth::Unclear;
use crate::catalog::FieldProblem;
use crate::engine::{Engine, Refusal};
use crate::hub::watching::WatchError;
use crate::store::{BackupError, StoreError};

/// Longest sentence of a status, in bytes.
const MESSAGE_BYTES_MAX: usize = 800;
/// Longest name that is repeated to the caller, in bytes.
pub(super) const NAME_BYTES_MAX: usize = 200;
/// Longest value in a violation, in bytes.
const QUOTED_BYTES_MAX: usize = 60;
/// Most violations that are told.
const VIOLATIONS_MAX: usize = 12;
/// Longest violation, in bytes.
const VIOLATION_BYTES_MAX: usize = 240;
/// After which time a caller may try again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The status of a refusal.
pub(super) fn refused(refusal: Refusal, engine: &Engine) -> Status {
    let message = clipped(&refusal.to_string(), MESSAGE_BYTES_MAX);
    match refusal {
        Refusal::NotFound { what, name } => {
            let name = clipped(&name, NAME_BYTES_MAX);
            let message = format!("there is no {what} `{name}`");
            Reason::NotFound.with(message, ErrorDetails::with_resource_info(what, name, "", ""))
        }
        Refusal::Exists { what, id, .. } => {
            Reason::AlreadyExists.with(message, ErrorDetails::with_resource_info(what, id, "", ""))
        }
        Refusal::Invalid(problems) => {
            let problems: Vec<_> = problems.into_iter().map(brief).collect();
            let details = violations(&problems);
            let message = clipped(&Refusal::Invalid(problems).to_string(), MESSAGE_BYTES_MAX);
            Reason::WrongFields.with(message, details)
        }
        Refusal::Closed { opens, .. } => {
            let opens = jiff::Timestamp::from_microsecond(opens.0).map(|at| at.to_string());
            let values = HashMap::from([("opens".to_owned(), opens.unwrap_or_default())]);
            Reason::NotYet.telling(message, ErrorDetails::new(), values)
        }
        Refusal::NotNow { runs, resources, .. } => {
            let run =
                |id: crate::domain::id::RunId| PreconditionViolation::new("RUN", id.to_string(), "is open");
            let resource = |path: String| PreconditionViolation::new("RESOURCE", path, "is there");
            let all = runs.into_iter().map(run).chain(resources.into_iter().map(resource));
            let all: Vec<_> = all.take(VIOLATIONS_MAX).collect();
            if all.is_empty() {
                Reason::NotNow.status(message)
            } else {
                Reason::InTheWay.with(message, ErrorDetails::with_precondition_failure(all))
            }
        }
        Refusal::Missing { packages, .. } => {
            let violation = |(package, what): (String, String)| {
                PreconditionViolation::new("REQUIREMENT", package, clipped(&what, VIOLATION_BYTES_MAX))
            };
            let all: Vec<_> = packages.into_iter().take(VIOLATIONS_MAX).map(violation).collect();
            Reason::Requires.with(message, ErrorDetails::with_precondition_failure(all))
        }
        Refusal::Full(_) => {
            let details = ErrorDetails::with_quota_failure_violation("queue", message.clone());
            Reason::QueueFull.with(message, details)
        }
        Refusal::Denied(_) => Reason::NotAllowed.status(message),
        Refusal::NoKey(_) => later(Reason::NoKey, message),
        Refusal::Store(error) | Refusal::Backup(BackupError::Store(error)) => store(&error, engine),
        Refusal::Backup(BackupError::Postgres) => Reason::OtherEngine.status(message),
        Refusal::Backup(BackupError::Another) => Reason::NotNow.status(message),
        Refusal::Backup(BackupError::NoRoom { .. }) => {
            let details = ErrorDetails::with_quota_failure_violation("disk", message.clone());
            Reason::DiskFull.with(message, details)
        }
        Refusal::Internal(error) => internal(&error, engine),
    }
}

/// The status of a request that is not of the shape that the contract says.
pub(super) fn malformed(problem: &FieldProblem) -> Status {
    if problem.field.is_empty() {
        return Reason::WrongForm.status(format!("the request {}", problem.message));
    }
    let message = clipped(&format!("{}: {}", problem.field, problem.message), MESSAGE_BYTES_MAX);
    Reason::WrongFields.with(message, violations(std::slice::from_ref(problem)))
}

/// The status of a request for which there is no room now: of what there is none, for whom, and after which time there will be.
pub(super) fn exhausted(reason: Reason, what: &str, whose: &str, message: String, wait: Duration) -> Status {
    let mut details = ErrorDetails::with_retry_info(Some(wait));
    details.add_quota_failure_violation(whose, what);
    reason.with(message, details)
}

/// The status of a request of which nobody knows who has sent it. The door says so with every one: without it nothing is answered.
pub(super) fn nobody() -> Status {
    Reason::NotAllowed.status("nobody knows who is asking")
}

fn store(error: &StoreError, engine: &Engine) -> Status {
    match error {
        StoreError::Conflict => {
            later(Reason::Conflict, "something else changed the same record at the same moment: try again")
        }
        StoreError::Full => full(&engine.store().about().place),
        StoreError::Unavailable(detail) => {
            tracing::warn!(detail, "a request could not be served: the database is not available");
            later(
                Reason::StoreUnavailable,
                "the daemon's database does not answer: try again; if it goes on, look at `settlectl status` and the daemon's log",
            )
        }
        StoreError::Replaced => later(Reason::StoreUnavailable, error.to_string()),
        StoreError::Duplicate(_) | StoreError::Corrupt(_) => internal(&error.to_string(), engine),
    }
}

/// Refused, not unavailable: the answer is certain, nothing was stored, and repeating it at once would not help.
fn full(place: &str) -> Status {
    tracing::error!(place, "a command was refused: the disk is full");
    let message = format!(
        "the daemon's disk is full: free space in {}; nothing was stored",
        clipped(place, NAME_BYTES_MAX)
    );
    let details = ErrorDetails::with_quota_failure_violation("disk", "the daemon's disk is full");
    Reason::DiskFull.with(message, details)
}

/// A fault: the log has the details, the caller a reference to them.
fn internal(error: &str, engine: &Engine) -> Status {
    let reference = engine.clock().ulid().to_string();
    tracing::error!(reference, error, "a request failed by a fault in settled");
    Reason::Fault.status(format!(
        "a fault in settled, not in the request; the daemon's log tells more under {reference}"
    ))
}

fn violations(problems: &[FieldProblem]) -> ErrorDetails {
    let violation = |p: &FieldProblem| {
        FieldViolation::new(clipped(&p.field, NAME_BYTES_MAX), clipped(&p.message, VIOLATION_BYTES_MAX))
    };
    ErrorDetails::with_bad_request(problems.iter().take(VIOLATIONS_MAX).map(violation).collect::<Vec<_>>())
}

/// What is wrong, with no more of each value than tells which one is meant: what is wrong with it stands behind it.
fn brief(problem: FieldProblem) -> FieldProblem {
    let quoted = |(at, text): (usize, &str)| match at % 2 {
        0 => text.to_owned(),
        _ => clipped(text, QUOTED_BYTES_MAX),
    };
    let parts: Vec<_> = problem.message.split('`').enumerate().map(quoted).collect();
    FieldProblem { message: parts.join("`"), ..problem }
}

/// The status of a watch that cannot go on.
pub(super) fn watch_ended(error: WatchError, generation: String, engine: &Engine) -> Status {
    let oldest = match &error {
        WatchError::Store(_) => None,
        WatchError::Compacted { oldest, .. }
        | WatchError::Future { oldest, .. }
        | WatchError::OtherGeneration { oldest } => Some(*oldest),
    };
    match (error, oldest) {
        (WatchError::Store(error), _) => store(&error, engine),
        (other, oldest) => {
            let metadata = HashMap::from([
                ("generation".to_owned(), generation),
                ("oldest_seq".to_owned(), oldest.unwrap_or_default().to_string()),
            ]);
            Reason::PositionOutOfRange.telling(other.to_string(), ErrorDetails::new(), metadata)
        }
    }
}

/// The status with which a stream ends whose reader sees other servers than when it came.
pub(super) fn sees_else() -> Status {
    Reason::ScopeChanged
        .status("you may see other servers now than when this began: begin again (a watch: with a snapshot)")
}

/// The status with which a stream ends whose reader may not see anything any more.
pub(super) fn sees_nothing(principal: &str) -> Status {
    Reason::RightLost.status(format!(
        "{principal} may not read here any more: its role was taken from it, or its token was revoked or has expired"
    ))
}

/// The status of a caller of whom nobody can tell at the moment what it may do.
pub(super) fn unclear(unclear: &Unclear) -> Status {
    let message = format!("{unclear}: try again; if it goes on, name users instead of groups in [access]");
    later(Reason::RightsUnknown, message)
}

/// The status of a request that can be tried again in a moment.
pub(super) fn later(reason: Reason, message: impl Into<String>) -> Status {
    reason.with(message, ErrorDetails::with_retry_info(Some(TRY_AGAIN)))
}

/// The status with which streams end when the daemon stops.
pub(super) fn stopping() -> Status {
    later(Reason::Stopping, "the daemon is stopping: connect again")
}

/// The status with which streams end when the daemon drains and another one serves.
pub(super) fn draining() -> Status {
    later(Reason::Draining, "the daemon drains, and another one serves: connect again")
}

/// The status of a stream that begins on a connection that was told to end.
pub(super) fn ending() -> Status {
    later(Reason::Ending, "this connection ends: connect again")
}

/// At most `bytes_max` bytes of a text, cut between characters and marked where it was cut.
pub(super) fn clipped(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}
