//! Says in words what went wrong with a step.

use crate::domain::failure::Failure;
use crate::domain::grounds::{Grounds, Late, Seen, Source};
use crate::domain::id::RunId;
use crate::domain::step::StepId;
use crate::domain::step::{Cause, Ended, StepState};
use crate::domain::time::Timestamp;
use crate::engine::StepEnd;
use crate::remote::{Report, Scene, StepStatus};

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

/// What a server shows beside the end of a try.
pub(super) fn seen(processes: &[String], scene: Option<&Scene>) -> Seen {
    let processes = processes.to_vec();
    let Some(scene) = scene else { return Seen { processes, ..Seen::default() } };
    let (boot_before, boot_now) = (scene.boot_before.clone(), scene.boot_now.clone());
    Seen { processes, boot_before, boot_now, lane_free: Some(scene.lane_free), ..Seen::default() }
}

/// What a server has shown of a try after its run was settled without proof.
pub(super) fn late(id: StepId, report: &Report, at: Timestamp) -> Late {
    let seen = seen(&report.processes, report.scene.as_ref());
    let bare = |why: &str| {
        let seen = Seen { why: why.to_owned(), ..seen.clone() };
        Grounds { source: Source::Server, step: Some(id), exit: None, seen }
    };
    let (text, grounds) = match &report.status {
        StepStatus::Ended(ended) => (late_end(ended), Grounds::of_end(id, ended, seen)),
        StepStatus::Absent => (
            "its server has no record of it, and refuses a start that is still on its way".to_owned(),
            bare("absent"),
        ),
        _ => (
            "its server has cleared it away: it had ended, and nobody can say how".to_owned(),
            bare("reaped"),
        ),
    };
    Late { at, text, grounds }
}

fn late_end(ended: &Ended) -> String {
    match ended {
        Ended::Exited { code, cause: Cause::Itself } => {
            format!(
                "its server has the exit record: it ended by itself with exit code {code}{}",
                signal(*code)
            )
        }
        Ended::Exited { code, cause } => {
            let by = match cause {
                Cause::Deadline => "at its deadline",
                Cause::Cancel => "by a cancel",
                _ => "by something else on the server",
            };
            format!(
                "its server has the exit record: it was ended {by}, with exit code {code}{}",
                signal(*code)
            )
        }
        Ended::Rejected { why } => format!("its server has proof that it never ran ({why})"),
        Ended::Lost { why } if why == "forced" => {
            "an operator has given it up; what is left of it may live on".to_owned()
        }
        Ended::Lost { why } => format!("its server has shown that it ended, and left no exit record ({why})"),
    }
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
