//! What a verdict says it rests on, for each way to an end.

use super::fixture::*;
use crate::domain::grounds::{Grounds, Probed, Seen, Source};
use crate::domain::operation::Operation;
use crate::domain::resource::{Presence, ResourceStatus};
use crate::domain::run::{Event, Proof, Run, StepFacts};
use crate::domain::step::{Cause, Ended, StepId};
use crate::domain::verdict::{Outcome, Reason};

/// The grounds of the run after an event that ends it.
#[track_caller]
fn grounds(run: Run, event: Event) -> Grounds {
    let run = run.apply(event, NOW, &TIMINGS).expect("legal");
    assert!(run.verdict().is_some(), "{run:#?}");
    run.grounds.expect("a verdict has grounds")
}

fn step() -> StepId {
    stepping().live_step().expect("it is stepping")
}

fn seen() -> Seen {
    let probe = Some(Probed { presence: Presence::Present, facts: [("v".into(), "2".into())].into() });
    let (boot_before, boot_now) = ("b1".into(), "b2".into());
    let processes = vec!["7 sleep".to_owned()];
    Seen { why: "reboot".into(), boot_before, boot_now, lane_free: Some(true), processes, probe }
}

#[test]
fn p7_a_verdict_tells_what_it_rests_on() {
    let told = |run, event| {
        let Grounds { source, step, exit, seen } = grounds(run, event);
        (source, step, exit, seen.why)
    };
    let live = Some(step());
    let none = String::new;
    let facts = || StepFacts { seen: seen(), ..last() };
    let timeout = exited(143, Cause::Deadline, last());
    let only = |run| Run { attempts_max: 1, ..run };
    assert_eq!(
        told(stepping(), exited(0, Cause::Itself, last())),
        (Source::Server, live, Some((0, Cause::Itself)), none())
    );
    assert_eq!(told(stepping(), timeout), (Source::Server, live, Some((143, Cause::Deadline)), none()));
    assert_eq!(told(cancelling(), rejected("disk")), (Source::Server, live, None, "disk".into()));
    let judged = |proof| Event::Judged(proof, facts());
    assert_eq!(told(stepping(), judged(Proof::Success)), (Source::Probe, live, None, "reboot".into()));
    assert_eq!(told(only(stepping()), judged(Proof::Nothing)), (Source::Probe, live, None, "reboot".into()));
    assert_eq!(told(stepping(), judged(Proof::None)), (Source::Server, live, None, "reboot".into()));
    let lost = Event::Abandoned(Ended::Lost { why: "reaped".into() }, facts());
    assert_eq!(told(stepping(), lost), (Source::Server, live, None, "reaped".into()));
    assert_eq!(told(queued(), Event::CancelRequested), (Source::Command, None, None, none()));
    let refused = Event::Refused(Outcome::Blocked, Reason::Forbidden, failure("no"));
    assert_eq!(told(queued(), refused), (Source::Daemon, None, None, none()));
    let meets = queued_for(Operation::Register, ResourceStatus::Active);
    let meets = only(meets).apply(STARTED, NOW, &TIMINGS).expect("legal");
    assert_eq!(grounds(meets, Event::Answered).source, Source::Probe);
}

#[test]
fn p7_what_time_ends_rests_on_nobody() {
    let run = stepping();
    let late = run.settles_by().expect("it is open") + std::time::Duration::from_micros(1);
    let run = run.apply(Event::Overdue(failure("late")), late, &TIMINGS).expect("its time has passed");
    let grounds = run.grounds.expect("a verdict has grounds");
    assert_eq!((grounds.source, grounds.step, grounds.seen), (Source::Time, Some(step()), Seen::default()));
}

#[test]
fn what_was_seen_is_kept_whole_and_an_open_run_has_none() {
    let facts = StepFacts { seen: seen(), ..last() };
    assert_eq!(grounds(stepping(), Event::Judged(Proof::Success, facts)).seen, seen());
    assert_eq!(apply(queued(), STARTED).grounds, None);
}
