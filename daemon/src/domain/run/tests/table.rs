//! Every pair of state and event, as one table.
//!
//! A cell says what the run is then: `stepping attempt.step.try`, `between attempt.step.try`, `~reason` when it waits, `!` when its
//! cancellation was asked for, `outcome:reason/evidence` when it ended, `*` when the reconciler ended it, and `-` when the event cannot
//! happen there.

use std::time::Duration;

use super::fixture::*;
use crate::domain::run::{Event, Phase, Proof, Retry, Run, RunState, StepFacts};
use crate::domain::step::{Cause, Ended};
use crate::domain::verdict::{Outcome, Reason, Verdict};
use crate::domain::waiting::WaitReason;

const TABLE: &str = "
event                       | queued                             | stepping                           | cancelling                         | between                            | asking                             | completed
started                     | stepping 1.0.1                     | -                                  | -                                  | -                                  | -                                  | -
waits                       | queued ~unreachable                | stepping 1.1.1 ~unreachable        | stepping 1.1.1 ~unreachable !      | between 1.1.2 ~unreachable         | stepping 1.0.1 ~unreachable        | -
unanswered                  | -                                  | stepping 1.1.1 ~unreachable        | stepping 1.1.1 ~unreachable !      | -                                  | stepping 1.0.1 ~unreachable        | -
goes on                     | queued                             | stepping 1.1.1                     | stepping 1.1.1 !                   | between 1.1.2                      | stepping 1.0.1                     | -
try started                 | -                                  | -                                  | -                                  | stepping 1.1.2 ~busy               | -                                  | -
held up                     | -                                  | between 1.1.1 ~busy                | cancelled:cancelled/exit_record    | -                                  | -                                  | -
exit 0, more steps          | -                                  | stepping 1.2.1                     | cancelled:cancelled/exit_record    | -                                  | stepping 1.1.1                     | -
exit 0, last step           | -                                  | succeeded/exit_record              | succeeded/exit_record              | -                                  | succeeded/exit_record              | -
exit 1                      | -                                  | between 2.0.1 ~backoff             | cancelled:cancelled/exit_record    | -                                  | failed:step_failed/exit_record     | -
exit 1, more steps          | -                                  | between 2.0.1 ~backoff             | cancelled:cancelled/exit_record    | -                                  | failed:step_failed/exit_record     | -
exit 1, busy                | -                                  | between 1.1.2 ~busy                | cancelled:cancelled/exit_record    | -                                  | between 1.0.2 ~busy                | -
exit 1, hopeless            | -                                  | failed:step_failed/exit_record     | cancelled:cancelled/exit_record    | -                                  | failed:step_failed/exit_record     | -
exit 1, final code          | -                                  | failed:final_code/exit_record      | cancelled:cancelled/exit_record    | -                                  | failed:final_code/exit_record      | -
exit 143 at deadline        | -                                  | failed:timeout/exit_record         | cancelled:cancelled/exit_record    | -                                  | failed:timeout/exit_record         | -
exit 143 at deadline, retry | -                                  | between 2.0.1 ~backoff             | cancelled:cancelled/exit_record    | -                                  | failed:step_failed/exit_record     | -
exit 0 at deadline          | -                                  | failed:timeout/exit_record         | cancelled:cancelled/exit_record    | -                                  | failed:timeout/exit_record         | -
exit 143 by cancel          | -                                  | cancelled:cancelled/exit_record    | cancelled:cancelled/exit_record    | -                                  | cancelled:cancelled/exit_record    | -
exit 0 by cancel            | -                                  | cancelled:cancelled/exit_record    | cancelled:cancelled/exit_record    | -                                  | cancelled:cancelled/exit_record    | -
exit 137 from outside       | -                                  | between 2.0.1 ~backoff             | cancelled:cancelled/exit_record    | -                                  | failed:step_failed/exit_record     | -
rejected: disk              | -                                  | between 1.1.2 ~busy                | cancelled:cancelled/exit_record    | -                                  | between 1.0.2 ~busy                | -
rejected: cancelled         | -                                  | cancelled:cancelled/exit_record    | cancelled:cancelled/exit_record    | -                                  | cancelled:cancelled/not_started    | -
lost                        | -                                  | stepping 1.1.1                     | stepping 1.1.1 !                   | -                                  | stepping 1.0.1                     | -
judged: success             | -                                  | succeeded/probe                    | succeeded/probe                    | -                                  | -                                  | -
judged: nothing             | -                                  | between 2.0.1 ~backoff             | cancelled:cancelled/probe          | -                                  | -                                  | -
judged: no proof            | -                                  | failed:lost/none                   | failed:lost/none                   | -                                  | -                                  | -
answered                    | -                                  | -                                  | -                                  | -                                  | succeeded/probe                    | -
cancel requested            | cancelled:cancelled/not_started    | stepping 1.1.1 !                   | stepping 1.1.1 !                   | cancelled:cancelled/exit_record    | cancelled:cancelled/not_started    | -
refused: blocked            | blocked:forbidden/not_started      | -                                  | -                                  | blocked:forbidden/exit_record      | blocked:forbidden/not_started      | -
refused: `succeeded`        | -                                  | -                                  | -                                  | -                                  | -                                  | -
overdue                     | failed:never_started/not_started * | failed:lost/none *                 | failed:lost/none *                 | failed:waited_too_long/exit_record * | failed:unreachable/not_started *   | -
broken                      | between 2.0.1 ~backoff             | -                                  | -                                  | between 2.0.1 ~backoff             | failed:internal/not_started        | -
abandoned: exit 143         | -                                  | failed:internal/exit_record        | cancelled:cancelled/exit_record    | -                                  | -                                  | -
abandoned: exit 0, last     | -                                  | succeeded/exit_record              | succeeded/exit_record              | -                                  | -                                  | -
abandoned: lost             | -                                  | failed:lost/none                   | failed:lost/none                   | -                                  | -                                  | -
";

fn events() -> Vec<(&'static str, Event)> {
    let busy = || StepFacts { retry: Retry::Busy, ..last() };
    let hopeless = || StepFacts { retry: Retry::Hopeless, ..last() };
    let final_code = || StepFacts { retry: Retry::FinalCode, ..last() };
    let patient = || StepFacts { retry_on_timeout: true, ..last() };
    let refused = |outcome| Event::Refused(outcome, Reason::Forbidden, failure("no"));
    vec![
        ("started", STARTED),
        ("waits", waits(WaitReason::Unreachable)),
        ("unanswered", unanswered()),
        ("goes on", GOES_ON),
        ("try started", TRY_STARTED),
        ("held up", Event::HeldUp(failure("apt holds the lock"))),
        ("exit 0, more steps", exited(0, Cause::Itself, more())),
        ("exit 0, last step", exited(0, Cause::Itself, last())),
        ("exit 1", exited(1, Cause::Itself, last())),
        ("exit 1, more steps", exited(1, Cause::Itself, more())),
        ("exit 1, busy", exited(1, Cause::Itself, busy())),
        ("exit 1, hopeless", exited(1, Cause::Itself, hopeless())),
        ("exit 1, final code", exited(1, Cause::Itself, final_code())),
        ("exit 143 at deadline", exited(143, Cause::Deadline, last())),
        ("exit 143 at deadline, retry", exited(143, Cause::Deadline, patient())),
        ("exit 0 at deadline", exited(0, Cause::Deadline, last())),
        ("exit 143 by cancel", exited(143, Cause::Cancel, last())),
        ("exit 0 by cancel", exited(0, Cause::Cancel, last())),
        ("exit 137 from outside", exited(137, Cause::Outside, last())),
        ("rejected: disk", rejected("disk")),
        ("rejected: cancelled", rejected("cancelled-before-start")),
        ("lost", lost()),
        ("judged: success", Event::Judged(Proof::Success, last())),
        ("judged: nothing", Event::Judged(Proof::Nothing, last())),
        ("judged: no proof", Event::Judged(Proof::None, last())),
        ("answered", Event::Answered),
        ("cancel requested", Event::CancelRequested),
        ("refused: blocked", refused(Outcome::Blocked)),
        ("refused: `succeeded`", refused(Outcome::Succeeded)),
        ("overdue", Event::Overdue(failure("too late"))),
        ("broken", Event::Broken(failure("a panic"))),
        ("abandoned: exit 143", Event::Abandoned(Ended::Exited { code: 143, cause: Cause::Cancel }, last())),
        (
            "abandoned: exit 0, last",
            Event::Abandoned(Ended::Exited { code: 0, cause: Cause::Itself }, last()),
        ),
        ("abandoned: lost", Event::Abandoned(Ended::Lost { why: "reboot".into() }, last())),
    ]
}

fn states() -> [(&'static str, Run); 6] {
    [
        ("queued", queued()),
        ("stepping", stepping()),
        ("cancelling", cancelling()),
        ("between", between()),
        ("asking", asking()),
        ("completed", completed()),
    ]
}

fn describe(run: &Run) -> String {
    let p = run.position();
    let at = format!("{}.{}.{}", p.attempt, p.step, p.try_no);
    let wait = run.waiting().map(|w| format!(" ~{}", w.reason)).unwrap_or_default();
    let cancel = if run.cancel_requested { " !" } else { "" };
    match &run.state {
        RunState::Queued { .. } => format!("queued{wait}{cancel}"),
        RunState::Running(progress) => match progress.phase {
            Phase::Stepping { .. } => format!("stepping {at}{wait}{cancel}"),
            Phase::Between { .. } => format!("between {at}{wait}{cancel}"),
        },
        RunState::Completed { verdict, .. } => describe_verdict(verdict),
    }
}

fn describe_verdict(v: &Verdict) -> String {
    let reason = v.reason.map(|r| format!(":{r}")).unwrap_or_default();
    let reconciled = if v.reconciled { " *" } else { "" };
    format!("{}{reason}/{}{reconciled}", v.outcome, v.evidence)
}

/// The table as the domain fills it in. Only `overdue` happens late; everything else happens now.
fn actual() -> String {
    let header = states().map(|(name, _)| format!("{name:34}")).join(" | ");
    let mut table = format!("\n{:27} | {}\n", "event", header).replace(" \n", "\n");
    for (name, event) in events() {
        let late =
            if matches!(event, Event::Overdue(_)) { Duration::from_secs(100_000) } else { Duration::ZERO };
        let cells = states().map(|(_, run)| {
            let cell = run.apply(event.clone(), NOW + late, &TIMINGS);
            format!("{:34}", cell.map_or("-".to_owned(), |run| describe(&run)))
        });
        let row = format!("{name:27} | {}", cells.join(" | "));
        table.push_str(row.trim_end());
        table.push('\n');
    }
    table
}

#[test]
fn every_pair_of_state_and_event_is_decided() {
    let trimmed = |text: &str| text.lines().map(|l| l.trim_end().to_owned()).collect::<Vec<_>>();
    let (expected, actual) = (trimmed(TABLE), trimmed(&actual()));
    for (expected, actual) in expected.iter().zip(&actual) {
        assert_eq!(expected, actual);
    }
    assert_eq!(expected.len(), actual.len());
}

#[test]
fn a_refused_event_names_the_state_and_the_event() {
    let refused = completed().apply(GOES_ON, NOW, &TIMINGS).expect_err("terminal");
    assert_eq!(refused.to_string(), "goes on cannot happen to a completed run");
}
