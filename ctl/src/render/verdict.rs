//! The end of a run in words: what happened, what it rests on, and what to do next. Never says more than is proven.

use settled_proto::v1::{Evidence, Failure, Outcome, Reason, Run, RunState};

use super::text;
use super::words::word;

/// How many of the last lines of output a verdict shows.
const LAST_LINES_MAX: usize = 20;

/// What a run is about: `SERVER/PACKAGE/NAME`, or the server.
pub(crate) fn subject(run: &Run) -> String {
    text::address(&run.server, &run.package, &run.resource)
}

/// The verdict, its headline first. A run that has not ended has none yet.
pub(crate) fn verdict(run: &Run) -> Vec<String> {
    if run.state != RunState::Completed as i32 {
        return vec![format!("{} of {} has not ended yet.", capital(&run.operation), subject(run))];
    }
    let mut lines = vec![headline(run)];
    if let Some(failure) = &run.failure {
        lines.extend(failure_lines(failure));
    }
    lines.extend(grounds(run));
    if !run.summary.is_empty() {
        lines.push(text::clean(&run.summary));
    }
    lines.extend(next(run));
    lines
}

fn headline(run: &Run) -> String {
    let what = format!("{} of {}", capital(&run.operation), subject(run));
    let took = took(run).map_or_else(String::new, |t| format!(" after {t}"));
    match Outcome::try_from(run.outcome) {
        Ok(Outcome::Succeeded) => format!("{what} succeeded{took}."),
        Ok(Outcome::Cancelled) => format!("{what} was cancelled{took}."),
        Ok(Outcome::Blocked) => format!("{what} was not allowed to begin."),
        Ok(Outcome::Failed) if unproven(run) => {
            format!("{what} counts as failed{took}, but nobody can prove how it ended.")
        }
        Ok(Outcome::Failed) => format!("{what} failed{took}: {}.", reason(run)),
        Ok(Outcome::Unspecified) | Err(_) => format!("{what} ended{took}; this settlectl does not know how."),
    }
}

fn took(run: &Run) -> Option<String> {
    let from = text::time(run.started_at.as_ref())?;
    let to = text::time(run.completed_at.as_ref())?;
    Some(text::span(from, to))
}

/// Whether the verdict rests on nothing.
pub(crate) fn unproven(run: &Run) -> bool {
    run.evidence == Evidence::None as i32 || run.reason == Reason::Lost as i32
}

fn reason(run: &Run) -> String {
    let reason = match Reason::try_from(run.reason) {
        Ok(Reason::StepFailed) => "a step failed",
        Ok(Reason::FinalCode) => "a step failed, and its package says that trying again would not help",
        Ok(Reason::AttemptsExhausted) => return format!("all {} attempts failed", run.max_attempts.max(1)),
        Ok(Reason::Timeout) => "a step ran out of time and was ended on the server",
        Ok(Reason::NeverStarted) => "its turn did not come before its limit; nothing was done",
        Ok(Reason::Unreachable) => "the server could not be reached until its limit",
        Ok(Reason::Cancelled) => "it was cancelled",
        Ok(Reason::Internal) => "settled itself has a fault",
        Ok(Reason::Refused) => "the server refuses settled",
        Ok(Reason::Forbidden) => "whoever asked for it may no longer do this",
        Ok(Reason::WaitedTooLong) => "what it waited for did not come before its limit",
        Ok(Reason::Differs) => "what is on the server is not what was given; nothing was changed",
        Ok(Reason::Requirement) => "what it requires is not there, or is required by others",
        Ok(Reason::Unsupported) => "the server does not have what the package needs",
        Ok(Reason::Lost | Reason::Unspecified) | Err(_) => {
            return word::<Reason>(run.reason).unwrap_or_else(|| "no reason was given".to_owned());
        }
    };
    reason.to_owned()
}

/// What the verdict rests on, where it is not the ordinary exit record of a daemon that looked on.
fn grounds(run: &Run) -> Option<String> {
    let by = if run.reconciled { "settled's reconciler closed it" } else { "settled closed it" };
    let line = match (Evidence::try_from(run.evidence), run.reconciled) {
        (Ok(Evidence::None), _) => format!(
            "Nobody can prove how it ended: {by} without an exit record, and no probe settled the question. \
             It may have happened, wholly, in part or not at all."
        ),
        // Only looking is what such a run was for.
        (Ok(Evidence::Probe), _) if matches!(run.operation.as_str(), "register" | "probe" | "adopt") => {
            return None;
        }
        (Ok(Evidence::Probe), _) => format!("Proven by a probe, not by an exit record: {by} on what it saw."),
        (Ok(Evidence::NotStarted), true) => format!("{}: no step was ever started.", capital(by)),
        (Ok(Evidence::NotStarted), false) => "No step was ever started.".to_owned(),
        (_, true) => format!("{} afterwards, from what the server shows.", capital(by)),
        (_, false) => return None,
    };
    Some(line)
}

/// Step, exit code, message and last lines of an error.
pub(crate) fn failure_lines(failure: &Failure) -> Vec<String> {
    let mut lines = Vec::new();
    let step = text::clean(&failure.step);
    match (step.is_empty(), failure.exit_code) {
        (false, Some(code)) => lines.push(format!("Step '{step}' ended with exit code {code}.")),
        (false, None) => lines.push(format!("Step '{step}' ended without an exit code.")),
        (true, Some(code)) => lines.push(format!("Exit code {code}.")),
        (true, None) => {}
    }
    if !failure.message.is_empty() {
        lines.push(text::clean(&failure.message));
    }
    let output: Vec<String> = text::lines(&failure.last_lines).collect();
    let skip = output.len().saturating_sub(LAST_LINES_MAX);
    lines.extend(output.into_iter().skip(skip).map(|line| format!("  | {line}")));
    lines
}

/// What to do after a run that did not succeed.
fn next(run: &Run) -> Option<String> {
    if run.outcome == Outcome::Succeeded as i32 {
        return None;
    }
    let subject = subject(run);
    if run.resource.is_empty() {
        let name = text::clean(&run.server);
        return Some(match Reason::try_from(run.reason) {
            Ok(Reason::Refused) => {
                format!(
                    "Next: mend it with 'settlectl server rekey {name} ...' (another host key) or 'settlectl server edit {name} ...', \
                     or at the server and then 'settlectl server probe {name}'"
                )
            }
            _ => format!("Next: settlectl server probe {name} --wait"),
        });
    }
    if unproven(run) {
        return Some(format!("Next: settlectl probe {subject} --wait    (looks what is really there)"));
    }
    let again = match (Outcome::try_from(run.outcome), run.operation.as_str()) {
        (Ok(Outcome::Failed | Outcome::Cancelled), "install") | (Ok(Outcome::Failed), "update") => {
            format!("settlectl retry {subject} --wait")
        }
        (Ok(Outcome::Failed), verb @ ("remove" | "pause" | "resume" | "probe")) => {
            format!("settlectl {verb} {subject} --wait")
        }
        (Ok(Outcome::Failed | Outcome::Cancelled), "adopt") => format!("settlectl retry {subject} --wait"),
        (Ok(Outcome::Failed), own) => format!("settlectl do {subject} {} --wait", text::clean(own)),
        (Ok(Outcome::Blocked), "install") if run.reason == Reason::Requirement as i32 => {
            format!("settlectl retry {subject} --wait")
        }
        _ => return None,
    };
    Some(format!("Next: {again}    (once the cause is mended)"))
}

fn capital(word: &str) -> String {
    let word = text::clean(word);
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(outcome: Outcome, reason: Reason, evidence: Evidence) -> Run {
        Run {
            server: "web1".into(),
            package: "site".into(),
            resource: "a".into(),
            operation: "install".into(),
            state: RunState::Completed as i32,
            outcome: outcome as i32,
            reason: reason as i32,
            evidence: evidence as i32,
            ..Run::default()
        }
    }

    #[test]
    fn p7_a_run_without_proof_is_said_in_words() {
        for reconciled in [false, true] {
            let lost = Run { reconciled, ..run(Outcome::Failed, Reason::Lost, Evidence::None) };
            let said = verdict(&lost).join("\n");
            assert!(said.contains("nobody can prove how it ended"), "{said}");
            assert!(said.contains("settlectl probe web1/site/a"), "{said}");
            assert!(!said.contains("retry"), "{said}");
            assert_eq!(said.contains("reconciler"), reconciled, "{said}");
        }
    }

    #[test]
    fn an_ordinary_failure_tells_step_code_lines_and_what_next() {
        let failure = Failure {
            step: "Write the file".into(),
            exit_code: Some(3),
            message: "The disk is full.".into(),
            last_lines: "cp: no space\x1b[0m\nbye\n".into(),
            ..Failure::default()
        };
        let failed =
            Run { failure: Some(failure), ..run(Outcome::Failed, Reason::StepFailed, Evidence::ExitRecord) };
        assert_eq!(
            verdict(&failed),
            [
                "Install of web1/site/a failed: a step failed.",
                "Step 'Write the file' ended with exit code 3.",
                "The disk is full.",
                "  | cp: no space[0m",
                "  | bye",
                "Next: settlectl retry web1/site/a --wait    (once the cause is mended)",
            ]
        );
    }

    #[test]
    fn every_end_reads_differently() {
        let table = [
            (run(Outcome::Succeeded, Reason::Unspecified, Evidence::ExitRecord), "succeeded"),
            (run(Outcome::Succeeded, Reason::Unspecified, Evidence::Probe), "Proven by a probe"),
            (run(Outcome::Cancelled, Reason::Cancelled, Evidence::ExitRecord), "was cancelled"),
            (run(Outcome::Blocked, Reason::Forbidden, Evidence::NotStarted), "not allowed to begin"),
            (run(Outcome::Failed, Reason::NeverStarted, Evidence::NotStarted), "nothing was done"),
            (run(Outcome::Failed, Reason::Timeout, Evidence::ExitRecord), "ran out of time"),
            (
                Run { reconciled: true, ..run(Outcome::Failed, Reason::StepFailed, Evidence::ExitRecord) },
                "reconciler closed it afterwards",
            ),
        ];
        for (run, expected) in table {
            let said = verdict(&run).join("\n");
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn what_comes_next_fits_the_operation() {
        let table = [
            ("update", "a", "settlectl retry web1/site/a"),
            ("remove", "a", "settlectl remove web1/site/a"),
            ("rollback", "a", "settlectl do web1/site/a rollback"),
            ("register", "", "settlectl server probe web1"),
        ];
        for (operation, resource, expected) in table {
            let package = if resource.is_empty() { "" } else { "site" };
            let failed = Run {
                operation: operation.into(),
                resource: resource.into(),
                package: package.into(),
                ..run(Outcome::Failed, Reason::StepFailed, Evidence::ExitRecord)
            };
            let said = verdict(&failed).join("\n");
            assert!(said.contains(expected), "{operation}: {said}");
        }
    }
}
