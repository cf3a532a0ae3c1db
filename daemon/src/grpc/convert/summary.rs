//! A run in one or two plain sentences: what happened, and what to do next. Never says more than is proven (P7).

use crate::domain::operation::Operation;
use crate::domain::resource::{Fate, ResourceStatus};
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::verdict::{Evidence, Outcome, Reason, Verdict};
use crate::domain::waiting::{WaitReason, Waiting};

/// The summary of a run. `waiting` and `position` as they are shown with it.
pub(super) fn of(run: &Run, waiting: Option<&Waiting>, position: Option<u32>) -> String {
    match &run.state {
        RunState::Queued { .. } => match (waiting, position) {
            (Some(w), _) if w.reason != WaitReason::Lane => waits("Queued", w),
            (_, Some(n)) if n > 1 => format!("Queued, place {n} on {}.", run.server_name),
            (Some(_), _) => {
                format!("Queued, next on {}: it starts when the run before it has ended.", run.server_name)
            }
            (None, _) => format!("Queued on {}; it starts as soon as the server is ready.", run.server_name),
        },
        RunState::Running(_) if run.cancel_requested => {
            "Being cancelled: it ends when the server has shown that it stopped.".to_owned()
        }
        RunState::Running(progress) => match waiting {
            Some(w) => waits(&format!("Started, step {}", progress.position.step + 1), w),
            None => format!(
                "Running step {}, attempt {} of {}.",
                progress.position.step + 1,
                progress.position.attempt,
                run.attempts_max.max(progress.position.attempt)
            ),
        },
        RunState::Completed { verdict, .. } => ended(run, verdict),
    }
}

fn waits(what: &str, w: &Waiting) -> String {
    let why = match w.reason {
        WaitReason::Lane => "another run has the server",
        WaitReason::Unreachable => "the server cannot be reached",
        WaitReason::Refused => {
            "the server refuses settled; change the server (settlectl server edit) or probe it"
        }
        WaitReason::Paused => "the server is paused; end that with `settlectl server resume`",
        WaitReason::Busy => "something on the server is in the way",
        WaitReason::Backoff => "it pauses before the next attempt",
        WaitReason::Unresolved => "an earlier step on the server is not proven to have ended",
        WaitReason::Limit => "as many servers are at work as are allowed",
    };
    let who = if w.who.is_empty() { String::new() } else { format!(" ({})", w.who) };
    let again = match (w.next_try, w.reason) {
        (Some(at), _) => format!(" It looks again at {}.", clock_time(at)),
        (None, WaitReason::Refused | WaitReason::Paused) => String::new(),
        (None, _) => " It goes on by itself.".to_owned(),
    };
    format!("{what}, waiting: {why}{who}.{again}")
}

fn clock_time(at: crate::domain::time::Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0)
        .map_or_else(|_| "an unknown time".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

fn ended(run: &Run, verdict: &Verdict) -> String {
    let happened = match verdict.outcome {
        Outcome::Succeeded => return succeeded(run, verdict),
        Outcome::Cancelled => cancelled(verdict),
        Outcome::Blocked => format!("Not allowed to begin: {}.", why(run, verdict)),
        Outcome::Failed if is_unproven(verdict) => {
            let by = if verdict.reconciled { "settled closed it by time" } else { "settled closed it" };
            format!(
                "Lost: nobody can prove how it ended, so {by}; it may have happened wholly, in part or not at all."
            )
        }
        Outcome::Failed if verdict.reconciled => {
            format!("Failed, closed by the reconciler: {}.", why(run, verdict))
        }
        Outcome::Failed => format!("Failed: {}.", why(run, verdict)),
    };
    format!("{happened} {}", next(run, verdict))
}

fn succeeded(run: &Run, verdict: &Verdict) -> String {
    match (verdict.evidence, verdict.reconciled) {
        (Evidence::Probe, _) if matches!(run.operation, Operation::Register | Operation::Probe) => {
            "Succeeded.".to_owned()
        }
        (Evidence::Probe, _) => "Succeeded, proven by a probe.".to_owned(),
        (_, true) => "Succeeded; the reconciler found the proof on the server.".to_owned(),
        (_, false) => "Succeeded.".to_owned(),
    }
}

fn cancelled(verdict: &Verdict) -> String {
    match verdict.evidence {
        Evidence::NotStarted => "Cancelled before anything was started.".to_owned(),
        Evidence::ExitRecord | Evidence::Probe => {
            "Cancelled; the server has shown that it stopped.".to_owned()
        }
        Evidence::None => "Cancelled.".to_owned(),
    }
}

fn is_unproven(verdict: &Verdict) -> bool {
    verdict.evidence == Evidence::None || verdict.reason == Some(Reason::Lost)
}

fn why(run: &Run, verdict: &Verdict) -> String {
    let step = verdict.failure.as_ref().map(|f| f.step.as_str()).filter(|title| !title.is_empty());
    let step = step.map_or_else(|| "a step".to_owned(), |title| format!("the step `{title}`"));
    match verdict.reason {
        Some(Reason::StepFailed) => format!("{step} failed{}", code(verdict)),
        Some(Reason::AttemptsExhausted) => {
            format!("all {} attempts failed, the last at {step}{}", run.attempts_max, code(verdict))
        }
        Some(Reason::Timeout) => format!("{step} ran out of time and was ended on the server"),
        Some(Reason::NeverStarted) => "its turn did not come before its limit; nothing was done".to_owned(),
        Some(Reason::Lost) => "nobody can prove how it ended".to_owned(),
        Some(Reason::Unreachable) => "the server could not be reached before its limit".to_owned(),
        Some(Reason::Cancelled) => "it was cancelled".to_owned(),
        Some(Reason::Internal) => "a fault in settled".to_owned(),
        Some(Reason::Refused) => "the server refuses settled".to_owned(),
        Some(Reason::Forbidden) => format!("{} may not do this any more", run.principal),
        Some(Reason::Unsupported) => "the server does not have what the package needs".to_owned(),
        None => "no reason is known".to_owned(),
    }
}

fn code(verdict: &Verdict) -> String {
    let code = verdict.failure.as_ref().and_then(|f| f.exit_code);
    code.map_or_else(String::new, |code| format!(" with exit code {code}"))
}

/// What to do about a run that did not succeed.
fn next(run: &Run, verdict: &Verdict) -> String {
    let server = &run.server_name;
    let Subject::Resource { name, package, .. } = &run.subject else {
        return match verdict.reason {
            Some(Reason::Cancelled) => format!("Look again with `settlectl server probe {server}`."),
            _ => format!("Mend that, then `settlectl server probe {server}`."),
        };
    };
    let path = format!("{server}/{package}/{name}");
    match verdict.reason {
        Some(Reason::Lost) => {
            format!("Look what is there with `settlectl probe {path}`, then ask for it again.")
        }
        Some(Reason::Refused) => {
            format!("Change the server with `settlectl server edit {server}`, then ask for it again.")
        }
        Some(Reason::Cancelled) if leaves_failed(run) => {
            format!("Ask for it again with `settlectl retry {path}`, or remove it.")
        }
        Some(Reason::Cancelled) => "Ask for it again when it is wanted.".to_owned(),
        Some(Reason::Forbidden) => "Ask the operator of this settled.".to_owned(),
        Some(Reason::Internal) => "The daemon's log tells more.".to_owned(),
        _ if leaves_failed(run) => {
            format!(
                "See its output (settlectl run show {}), mend the cause, then `settlectl retry {path}`.",
                run.id
            )
        }
        _ => {
            format!("See its output (settlectl run show {}), mend the cause, then ask for it again.", run.id)
        }
    }
}

/// Whether its resource stands as `failed` after it, so that a retry is possible.
fn leaves_failed(run: &Run) -> bool {
    run.fate() == Some(Fate::Status(ResourceStatus::Failed))
}
