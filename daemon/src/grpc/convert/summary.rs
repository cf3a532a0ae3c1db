//! A run in one or two plain sentences: what happened, and what to do next. Never says more than is proven (P7).

use crate::domain::operation::Operation;
use crate::domain::resource::{Fate, ResourceStatus};
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::time::Timestamp;
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
            "the server refuses settled; mend that (another host key: settlectl server rekey; another way in: settlectl server \
             edit), or probe it"
        }
        WaitReason::Paused => "the server is paused; end that with `settlectl server resume`",
        WaitReason::Busy => "something on the server is in the way",
        WaitReason::Backoff => "it pauses before the next attempt",
        WaitReason::Unresolved => "a step on the server is not proven to have ended",
        WaitReason::Limit => "as many servers are at work as are allowed",
        WaitReason::Window => "the server's maintenance windows are closed",
        WaitReason::Drain => "nothing new is begun",
        WaitReason::Access => "it cannot be told whether who asked may still do this",
    };
    let who = if w.who.is_empty() { String::new() } else { format!(" ({})", w.who) };
    let again = match (w.next_try, w.reason) {
        (Some(at), WaitReason::Window) => format!(" One opens at {}.", clock_time(at)),
        (Some(at), _) => format!(" It looks again at {}.", clock_time(at)),
        (None, WaitReason::Refused | WaitReason::Paused) => String::new(),
        (None, _) => " It goes on by itself.".to_owned(),
    };
    format!("{what}, waiting: {why}{who}.{again}")
}

/// The summary of an open run to which nothing has happened for too long.
pub(super) fn stale(summary: &str, progress_at: Timestamp, settles_by: Timestamp) -> String {
    format!(
        "{summary} Likely stale: nothing has happened to it since {}. Nothing needs to be done: settled ends it by {} at the latest.",
        clock_time(progress_at),
        clock_time(settles_by)
    )
}

fn clock_time(at: Timestamp) -> String {
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
        Some(Reason::FinalCode) => {
            format!("{step} failed{}, and its package says that trying again would not help", code(verdict))
        }
        Some(Reason::AttemptsExhausted) => {
            format!("all {} attempts failed, the last at {step}{}", run.attempts_max, code(verdict))
        }
        Some(Reason::Timeout) => format!("{step} ran out of time and was ended on the server"),
        Some(Reason::NeverStarted) => "its turn did not come before its limit; nothing was done".to_owned(),
        Some(Reason::Lost) => "nobody can prove how it ended".to_owned(),
        Some(Reason::Unreachable) => "the server could not be reached before its limit".to_owned(),
        Some(Reason::WaitedTooLong) => message(verdict, "what it waited for did not come before its limit"),
        Some(Reason::Cancelled) => "it was cancelled".to_owned(),
        Some(Reason::Internal) => "a fault in settled".to_owned(),
        Some(Reason::Refused) => "the server refuses settled".to_owned(),
        Some(Reason::Forbidden) => format!("{} may not do this any more", run.principal),
        Some(Reason::Unsupported | Reason::Requirement | Reason::Differs) => {
            message(verdict, "the server does not have what it needs")
        }
        None => "no reason is known".to_owned(),
    }
}

/// What the failure says; else this.
fn message(verdict: &Verdict, otherwise: &str) -> String {
    let message = verdict.failure.as_ref().map(|f| f.message.as_str()).filter(|m| !m.is_empty());
    message.unwrap_or(otherwise).to_owned()
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
            format!(
                "Mend that (another host key: `settlectl server rekey {server}`; another way in: `settlectl server edit {server}`), \
                 then ask for it again."
            )
        }
        Some(Reason::Cancelled) if leaves_failed(run) => {
            format!("Ask for it again with `settlectl retry {path}`, or remove it.")
        }
        Some(Reason::Cancelled) => "Ask for it again when it is wanted.".to_owned(),
        Some(Reason::Forbidden) => "Ask the operator of this settled.".to_owned(),
        Some(Reason::Unsupported) if leaves_failed(run) => {
            format!("Remove it (`settlectl remove {path}`) and install it where it works.")
        }
        Some(Reason::Unsupported) => "Ask for it again when the server fits.".to_owned(),
        Some(Reason::Internal) => "The daemon's log tells more.".to_owned(),
        Some(Reason::Differs) => format!(
            "Nothing was changed. Forget the record with `settlectl remove {path}` (it touches nothing either) and adopt it as it is, or make \
             it so with `settlectl update {path}`."
        ),
        Some(Reason::Requirement) => format!("Mend that, then {}.", again(run, &path)),
        // Nothing ran that could have written anything.
        Some(Reason::NeverStarted | Reason::WaitedTooLong) => {
            format!("See what it waited for (settlectl run show {}), then {}.", run.id, again(run, &path))
        }
        Some(Reason::Unreachable) => format!(
            "Mend the way to {server} (`settlectl server probe {server}` tells whether it answers), then {}.",
            again(run, &path)
        ),
        _ => format!(
            "See its output (settlectl run show {}), mend the cause, then {}.",
            run.id,
            again(run, &path)
        ),
    }
}

/// How to ask for it once more.
fn again(run: &Run, path: &str) -> String {
    if leaves_failed(run) { format!("`settlectl retry {path}`") } else { "ask for it again".to_owned() }
}

/// Whether its resource stands as `failed` after it, so that a retry is possible.
fn leaves_failed(run: &Run) -> bool {
    run.fate() == Some(Fate::Status(ResourceStatus::Failed))
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::freshness::Thresholds;
    use crate::domain::id::{ResourceId, RunId, ServerId};
    use crate::domain::operation::Operation;
    use crate::domain::params::{Outputs, Params};
    use crate::domain::resource::Declared;
    use crate::domain::run::{Phase, Position, Progress};
    use crate::domain::turn::Priority;

    const AT: Timestamp = Timestamp(1_700_000_000_000_000);

    fn run(operation: Operation, state: RunState) -> Run {
        let declared = Declared { in_progress: ResourceStatus::Installing, success: ResourceStatus::Active };
        Run {
            id: RunId(Ulid(1)),
            server: ServerId(Ulid(2)),
            server_name: "web1".to_owned(),
            subject: Subject::Resource {
                id: ResourceId(Ulid(3)),
                name: "a".to_owned(),
                package: "site".to_owned(),
                digest: String::new(),
                earlier: ResourceStatus::Active,
                declared,
            },
            operation,
            exclusive: true,
            attempts_max: 3,
            principal: "unix:0".to_owned(),
            retry_of: None,
            accepted_at: AT,
            queue_until: AT,
            kill_grace: std::time::Duration::from_secs(30),
            settle_margin: std::time::Duration::from_secs(120),
            wait_limit: std::time::Duration::from_secs(86_400),
            stale: Thresholds::default(),
            progress_at: AT,
            priority: Priority::Normal,
            cancel_requested: false,
            payload: true,
            parameters: Params::new(),
            outputs: Outputs::new(),
            state,
            grounds: None,
            epoch: 1,
            version: 1,
            seq: 1,
        }
    }

    fn queued() -> Run {
        run(Operation::Install, RunState::Queued { waiting: None })
    }

    fn running() -> Run {
        let position = Position { attempt: 2, step: 1, try_no: 1 };
        let phase = Phase::Between { since: AT };
        run(
            Operation::Install,
            RunState::Running(Progress { started_at: AT, position, phase, busy_since: None, waiting: None }),
        )
    }

    fn over(
        operation: Operation,
        outcome: Outcome,
        reason: Option<Reason>,
        evidence: Evidence,
        reconciled: bool,
    ) -> Run {
        let failure = (outcome == Outcome::Failed).then(|| Failure {
            step: "Unpack".to_owned(),
            exit_code: Some(2),
            message: String::new(),
            last_lines: String::new(),
            run: RunId(Ulid(1)),
            at: AT,
        });
        let verdict = Verdict { outcome, reason, evidence, reconciled, failure, at: AT };
        run(operation, RunState::Completed { started_at: Some(AT), position: Position::default(), verdict })
    }

    /// The failure of a run that waited for a lock until its limit.
    fn waited(mut run: Run) -> Run {
        if let RunState::Completed { verdict: Verdict { failure: Some(failure), .. }, .. } = &mut run.state {
            "it could not go on within its limit: apt-get (pid 12) holds the package lock"
                .clone_into(&mut failure.message);
        }
        run
    }

    fn wait(reason: WaitReason, next_try: Option<Timestamp>) -> Waiting {
        Waiting { reason, who: "apt-get, process 12".to_owned(), since: AT, next_try }
    }

    #[test]
    fn open_runs_tell_where_they_stand_and_why_they_wait() {
        let lane = wait(WaitReason::Lane, None);
        let unreachable = wait(WaitReason::Unreachable, Some(AT));
        let busy = wait(WaitReason::Busy, Some(AT));
        let refused = wait(WaitReason::Refused, None);
        let cancelling = Run { cancel_requested: true, ..running() };
        let table: [(Run, Option<&Waiting>, Option<u32>, &str); 8] = [
            (queued(), None, Some(1), "Queued on web1; it starts as soon as the server is ready."),
            (
                queued(),
                Some(&lane),
                Some(1),
                "Queued, next on web1: it starts when the run before it has ended.",
            ),
            (queued(), Some(&lane), Some(4), "Queued, place 4 on web1."),
            (
                queued(),
                Some(&unreachable),
                Some(1),
                "Queued, waiting: the server cannot be reached (apt-get, process 12). It looks again at 2023-11-14 22:13:20 UTC.",
            ),
            (
                queued(),
                Some(&refused),
                Some(1),
                "Queued, waiting: the server refuses settled; mend that (another host key: settlectl server rekey; another way \
                 in: settlectl server edit), or probe it (apt-get, process 12).",
            ),
            (running(), None, None, "Running step 2, attempt 2 of 3."),
            (
                running(),
                Some(&busy),
                None,
                "Started, step 2, waiting: something on the server is in the way (apt-get, process 12). \
                 It looks again at 2023-11-14 22:13:20 UTC.",
            ),
            (cancelling, None, None, "Being cancelled: it ends when the server has shown that it stopped."),
        ];
        for (run, waiting, position, expected) in table {
            assert_eq!(of(&run, waiting, position), expected);
        }
    }

    #[test]
    fn p7_ended_runs_tell_what_is_proven_and_what_to_do() {
        use Evidence as E;
        use Operation as Op;
        use Outcome as O;
        use Reason as R;
        let table = [
            (over(Op::Install, O::Succeeded, None, E::ExitRecord, false), "Succeeded."),
            (over(Op::Install, O::Succeeded, None, E::Probe, false), "Succeeded, proven by a probe."),
            (
                over(Op::Install, O::Succeeded, None, E::ExitRecord, true),
                "Succeeded; the reconciler found the proof on the server.",
            ),
            (
                over(Op::Install, O::Failed, Some(R::StepFailed), E::ExitRecord, false),
                "Failed: the step `Unpack` failed with exit code 2. See its output (settlectl run show \
                 00000000000000000000000001), mend the cause, then `settlectl retry web1/site/a`.",
            ),
            (
                over(Op::Remove, O::Failed, Some(R::AttemptsExhausted), E::ExitRecord, false),
                "Failed: all 3 attempts failed, the last at the step `Unpack` with exit code 2. See its output (settlectl run \
                 show 00000000000000000000000001), mend the cause, then ask for it again.",
            ),
            (
                over(Op::Install, O::Failed, Some(R::Lost), E::None, true),
                "Lost: nobody can prove how it ended, so settled closed it by time; it may have happened wholly, in part or not \
                 at all. Look what is there with `settlectl probe web1/site/a`, then ask for it again.",
            ),
            (
                over(Op::Update, O::Failed, Some(R::NeverStarted), E::NotStarted, true),
                "Failed, closed by the reconciler: its turn did not come before its limit; nothing was done. See what it \
                 waited for (settlectl run show 00000000000000000000000001), then `settlectl retry web1/site/a`.",
            ),
            (
                over(Op::Remove, O::Failed, Some(R::Unreachable), E::NotStarted, true),
                "Failed, closed by the reconciler: the server could not be reached before its limit. Mend the way to web1 \
                 (`settlectl server probe web1` tells whether it answers), then ask for it again.",
            ),
            (
                waited(over(Op::Install, O::Failed, Some(R::WaitedTooLong), E::NotStarted, false)),
                "Failed: it could not go on within its limit: apt-get (pid 12) holds the package lock. See what it waited for \
                 (settlectl run show 00000000000000000000000001), then `settlectl retry web1/site/a`.",
            ),
            (
                over(Op::Remove, O::Cancelled, Some(R::Cancelled), E::ExitRecord, false),
                "Cancelled; the server has shown that it stopped. Ask for it again when it is wanted.",
            ),
            (
                over(Op::Install, O::Cancelled, Some(R::Cancelled), E::NotStarted, false),
                "Cancelled before anything was started. Ask for it again with `settlectl retry web1/site/a`, or remove it.",
            ),
            (
                over(Op::Remove, O::Blocked, Some(R::Forbidden), E::NotStarted, false),
                "Not allowed to begin: unix:0 may not do this any more. Ask the operator of this settled.",
            ),
        ];
        for (run, expected) in table {
            assert_eq!(of(&run, None, None), expected);
        }
    }

    #[test]
    fn p7_a_verdict_without_evidence_is_never_called_a_success() {
        for &reason in Reason::ALL {
            let run = over(Operation::Install, Outcome::Failed, Some(reason), Evidence::None, false);
            let text = of(&run, None, None);
            assert!(text.contains("nobody can prove") && !text.contains("ucceeded"), "{text}");
        }
    }

    #[test]
    fn p6_a_run_that_is_likely_stale_is_told_with_its_end() {
        let told = stale(&of(&running(), None, None), AT, AT + std::time::Duration::from_secs(60));
        assert_eq!(
            told,
            "Running step 2, attempt 2 of 3. Likely stale: nothing has happened to it since 2023-11-14 22:13:20 UTC. \
             Nothing needs to be done: settled ends it by 2023-11-14 22:14:20 UTC at the latest."
        );
    }

    #[test]
    fn p7_an_ordinary_failure_and_a_reconciled_one_read_differently() {
        for &reason in Reason::ALL {
            let told = |reconciled| {
                let evidence = if reason == Reason::Lost { Evidence::None } else { Evidence::ExitRecord };
                of(&over(Operation::Install, Outcome::Failed, Some(reason), evidence, reconciled), None, None)
            };
            assert_ne!(told(false), told(true), "{reason}");
        }
    }
}
