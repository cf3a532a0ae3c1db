//! Says in words what went wrong with a step.

use crate::domain::failure::Failure;
use crate::domain::id::RunId;
use crate::domain::step::StepId;
use crate::domain::step::{Cause, Ended, StepState};
use crate::domain::time::Timestamp;
use crate::engine::StepEnd;

/// The failure of a try, for people.
pub(super) fn of_step(run: RunId, title: &str, ended: &Ended, last_lines: String, at: Timestamp) -> Failure {
    let (exit_code, message) = match ended {
        Ended::Exited { code: 0, .. } => (Some(0), String::new()),
        Ended::Exited { code, cause: Cause::Itself } => {
            (Some(*code), format!("`{title}` ended with exit code {code}{}", signal(*code)))
        }
        Ended::Exited { code, cause: Cause::Deadline } => {
            (Some(*code), format!("`{title}` ran longer than its timeout and was ended on the server"))
        }
        Ended::Exited { code, cause: Cause::Cancel } => {
            (Some(*code), format!("`{title}` was ended by a cancel"))
        }
        Ended::Exited { code, cause: Cause::Outside } => {
            (Some(*code), format!("`{title}` was killed on the server by something else{}", signal(*code)))
        }
        Ended::Rejected { why } => (None, why.clone()),
        Ended::Lost { why } => {
            (None, format!("`{title}` left no exit record ({why}): nobody can prove how it ended"))
        }
    };
    Failure { step: title.to_owned(), exit_code, message, last_lines, run, at }
}

fn signal(code: i32) -> &'static str {
    match code {
        137 => " (killed)",
        139 => " (it crashed)",
        143 => " (terminated)",
        126 => " (a command could not be executed)",
        127 => " (a command was not found)",
        _ => "",
    }
}

/// A failure without a step.
pub(super) fn plain(run: RunId, message: String, at: Timestamp) -> Failure {
    Failure { step: String::new(), exit_code: None, message, last_lines: String::new(), run, at }
}

/// The record of a try that ended.
pub(super) fn end_of(id: StepId, ended: &Ended, truncated: bool) -> StepEnd {
    let (state, exit_code, why) = match ended {
        Ended::Exited { code, cause: Cause::Itself } => (StepState::Exited, Some(*code), String::new()),
        Ended::Exited { code, cause } => (StepState::Killed, Some(*code), cause.to_string()),
        Ended::Rejected { why } => (StepState::Rejected, None, why.clone()),
        Ended::Lost { why } => (StepState::Lost, None, why.clone()),
    };
    StepEnd { id, state, exit_code, why, truncated, proven: true }
}

/// The same, and these processes live on.
pub(super) fn leaving(end: StepEnd, processes: &[String]) -> StepEnd {
    if processes.is_empty() {
        return end;
    }
    let left = format!("processes of it live on: {}", processes.join(", "));
    let why = if end.why.is_empty() { left } else { format!("{}; {left}", end.why) };
    StepEnd { why, ..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_on_is_named_beside_the_end() {
        let end = |why: &str| StepEnd {
            id: "00000000000000000000000001.0.1.1".parse().expect("an id"),
            state: StepState::Killed,
            exit_code: Some(143),
            why: why.to_owned(),
            truncated: false,
            proven: true,
        };
        let left = ["12 sleep".to_owned(), "13 sh".to_owned()];
        assert_eq!(leaving(end("cancel"), &left).why, "cancel; processes of it live on: 12 sleep, 13 sh");
        assert_eq!(leaving(end(""), &left).why, "processes of it live on: 12 sleep, 13 sh");
        assert_eq!(leaving(end("cancel"), &[]).why, "cancel");
    }
}
