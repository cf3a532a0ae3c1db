//! The stories that DESIGN tells of attempts, tries, timeouts, cancels and lost steps.

use std::time::Duration;

use super::fixture::*;
use crate::domain::consequence::{self, After};
use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::{Applied, Fate, Resource, ResourceStatus};
use crate::domain::run::{Event, Proof, Repair, Retry, Run, StepFacts, Subject};
use crate::domain::step::{Cause, Ended};
use crate::domain::verdict::{Evidence, Outcome, Reason};
use crate::domain::waiting::WaitReason;

fn begun() -> Run {
    apply(queued(), STARTED)
}

fn fail() -> Event {
    exited(1, Cause::Itself, last())
}

fn busy() -> Event {
    exited(75, Cause::Itself, StepFacts { retry: Retry::Busy, ..last() })
}

/// (outcome, reason, evidence)
fn verdict(run: &Run) -> (Outcome, Option<Reason>, Evidence) {
    let v = run.verdict().expect("completed");
    (v.outcome, v.reason, v.evidence)
}

#[test]
fn three_failures_end_a_run_and_each_attempt_begins_at_the_first_step() {
    let mut run = apply(begun(), exited(0, Cause::Itself, more()));
    for attempt in 1..3 {
        assert_eq!(run.position().attempt, attempt);
        run = apply(run, fail());
        assert_eq!((run.position().step, run.position().try_no), (0, 1));
        assert_eq!(run.fate(), Some(Fate::Status(ResourceStatus::Updating)), "in progress between attempts");
        run = apply(run, TRY_STARTED);
    }
    let run = apply(run, fail());
    assert_eq!(verdict(&run), (Outcome::Failed, Some(Reason::AttemptsExhausted), Evidence::ExitRecord));
    assert_eq!(run.position().attempt, 3);
    assert_eq!(run.fate(), Some(Fate::Status(ResourceStatus::Failed)));
    assert_eq!(run.verdict().and_then(|v| v.failure.clone()), Some(failure("it broke")));
}

#[test]
fn the_only_attempt_fails_as_a_failed_step() {
    let run = apply(Run { attempts_max: 1, ..begun() }, fail());
    assert_eq!(verdict(&run).1, Some(Reason::StepFailed));
}

#[test]
fn the_pause_between_attempts_doubles_up_to_its_limit() {
    let mut run = Run { attempts_max: 6, ..begun() };
    let mut pauses = Vec::new();
    for _ in 0..5 {
        run = apply(run, fail());
        let until = run.waiting().and_then(|w| w.next_try).expect("a time");
        pauses.push(until.since(NOW).as_secs());
        run = apply(run, TRY_STARTED);
    }
    assert_eq!(pauses, [10, 20, 40, 60, 60]);
    assert_eq!(TIMINGS.backoff(u32::MAX), TIMINGS.backoff_max);
}

#[test]
fn p4_waiting_uses_no_attempt_and_says_since_when() {
    let mut run = queued();
    for late in [0, 240, 500] {
        let now = NOW + Duration::from_secs(late);
        run = run.apply(waits(WaitReason::Unreachable), now, &TIMINGS).expect("legal");
    }
    let waiting = run.waiting().expect("it waits").clone();
    assert_eq!((waiting.since, waiting.who.as_str()), (NOW, "someone"));
    assert_eq!((run.state_word(), run.position().attempt), ("queued", 0));
    let later = NOW + Duration::from_mins(10);
    let run = run.apply(waits(WaitReason::Paused), later, &TIMINGS).expect("legal");
    assert_eq!(run.waiting().map(|w| w.since), Some(later), "another reason begins its own time");
    let run = apply(run, STARTED);
    assert_eq!((run.waiting(), run.position().attempt), (None, 1));
}

#[test]
fn p4_a_busy_exit_is_a_new_try_and_no_attempt() {
    let mut run = begun();
    for try_no in 2..10 {
        run = apply(run, busy());
        assert_eq!((run.position().attempt, run.position().try_no), (1, try_no));
        assert_eq!(run.waiting().map(|w| w.reason), Some(WaitReason::Busy));
        run = apply(run, TRY_STARTED);
    }
    assert!(run.payload, "the step ran, and found the lock");
}

#[test]
fn p4_a_start_that_is_put_off_waits_since_its_beginning_as_the_same_try() {
    let (mut run, mut now) = (begun(), NOW);
    while run.verdict().is_none() {
        assert_eq!((run.position().attempt, run.position().try_no), (1, 1));
        let before = now;
        run = run.apply(Event::HeldUp(failure("apt holds the lock")), now, &TIMINGS).expect("legal");
        let Some(waiting) = run.waiting().cloned() else { break };
        assert_eq!(
            (waiting.reason, waiting.since, waiting.who.as_str()),
            (WaitReason::Busy, NOW, "apt holds the lock")
        );
        assert_eq!(run.settles_by(), Some(NOW + TIMINGS.queue_limit), "waiting on and on moves nothing");
        now = waiting.next_try.expect("a time");
        assert!(now > before && (now == NOW + TIMINGS.queue_limit || now >= before + TIMINGS.busy_retry));
        run = run.apply(TRY_STARTED, now, &TIMINGS).expect("legal");
    }
    assert_eq!(now.since(NOW), TIMINGS.queue_limit, "a lock that is never let go is waited for this long");
    assert_eq!(verdict(&run), (Outcome::Failed, Some(Reason::WaitedTooLong), Evidence::NotStarted));
    let told = run.verdict().and_then(|v| v.failure.clone()).expect("it says what it waited for");
    assert_eq!((told.step.as_str(), told.message.contains("apt holds the lock")), ("", true), "nothing ran");
}

#[test]
fn p5_a_rejected_start_is_a_new_try_of_something_that_never_ran() {
    let run = apply(begun(), rejected("lane-busy"));
    assert_eq!((run.position().attempt, run.position().try_no), (1, 2));
    assert!(!run.payload);
    let run = apply(run, Event::CancelRequested);
    assert_eq!(verdict(&run), (Outcome::Cancelled, Some(Reason::Cancelled), Evidence::NotStarted));
    assert_eq!(run.fate(), Some(Fate::Status(ResourceStatus::Active)), "nothing was touched");
}

#[test]
fn p6_a_step_that_never_gets_to_start_ends_its_run_within_the_queue_limit() {
    for event in [rejected("disk"), busy()] {
        let (mut run, mut now) = (begun(), NOW);
        while run.verdict().is_none() {
            run = run.apply(event.clone(), now, &TIMINGS).expect("legal");
            if let Some(at) = run.waiting().and_then(|w| w.next_try) {
                now = at;
                run = run.apply(TRY_STARTED, now, &TIMINGS).expect("legal");
            }
        }
        assert_eq!(now.since(NOW), TIMINGS.queue_limit);
        assert_eq!((verdict(&run).0, verdict(&run).1), (Outcome::Failed, Some(Reason::WaitedTooLong)));
        assert_eq!(run.position().attempt, 1);
    }
}

#[test]
fn every_phase_publishes_when_it_settles() {
    let seconds = |run: &Run| run.settles_by().map(|t| t.since(NOW).as_secs());
    assert_eq!(seconds(&queued()), Some(3_600), "accepted + queue limit");
    assert_eq!(
        seconds(&apply(queued(), waits(WaitReason::Unreachable))),
        Some(3_600),
        "waiting moves nothing"
    );
    assert_eq!(seconds(&begun()), Some(600 + 30 + 120), "deadline + kill grace + margin");
    assert_eq!(seconds(&cancelling()), Some(600 + 30 + 120));
    assert_eq!(seconds(&between()), Some(3_600), "since + queue limit");
    assert_eq!(seconds(&completed()), None);
}

#[test]
fn p4_a_start_that_is_not_answered_moves_its_deadline_up_to_the_limit_of_the_run() {
    let (mut run, mut now) = (begun(), NOW);
    let after = Duration::from_secs(600 + 30 + 120);
    for _ in 0..400 {
        let next_try = now + Duration::from_secs(15);
        let event = Event::Unanswered { who: "no route".into(), next_try, timeout: TIMEOUT };
        run = run.apply(event, now, &TIMINGS).expect("legal");
        let last = NOW + TIMINGS.queue_limit;
        assert_eq!(run.settles_by(), Some(next_try.min(last) + after));
        assert_eq!(run.waiting().map(|w| w.since), Some(NOW));
        now = next_try;
    }
    assert!(now.since(NOW) > TIMINGS.queue_limit);
    assert!(run.begins_late(now, TIMEOUT));
    let run = run.apply(Event::GoesOn { began: Some(TIMEOUT) }, now, &TIMINGS).expect("legal");
    assert_eq!((run.settles_by(), run.waiting()), (Some(now + after), None), "it may run its whole time");
    assert!(!begun().begins_late(NOW + Duration::from_secs(10), TIMEOUT));
}

#[test]
fn p6_nothing_is_overdue_before_its_time() {
    for run in [queued(), stepping(), cancelling(), between()] {
        let due = run.settles_by().expect("open");
        let early = run.clone().apply(Event::Overdue(failure("late")), due, &TIMINGS);
        assert!(early.is_err(), "whoever saw it overdue saw an earlier state");
        let just_after = due + Duration::from_micros(1);
        let late = run.apply(Event::Overdue(failure("late")), just_after, &TIMINGS).expect("overdue");
        assert!(late.verdict().is_some_and(|v| v.reconciled));
    }
}

#[test]
fn an_overdue_wait_for_a_refusing_server_says_so() {
    let run = apply(between(), waits(WaitReason::Refused));
    let late = NOW + Duration::from_secs(100_000);
    let run = run.apply(Event::Overdue(failure("late")), late, &TIMINGS).expect("overdue");
    assert_eq!(verdict(&run).1, Some(Reason::Refused));
}

#[test]
fn p7_what_waited_too_long_says_so_and_not_that_its_server_was_unreachable_or_a_step_failed() {
    let late = NOW + Duration::from_secs(100_000);
    for reason in [WaitReason::Busy, WaitReason::Limit, WaitReason::Backoff, WaitReason::Paused] {
        let run = apply(between(), waits(reason)).apply(Event::Overdue(failure("late")), late, &TIMINGS);
        assert_eq!(verdict(&run.expect("overdue")).1, Some(Reason::WaitedTooLong), "{reason}");
    }
    let run = apply(between(), GOES_ON).apply(Event::Overdue(failure("late")), late, &TIMINGS);
    assert_eq!(verdict(&run.expect("overdue")).1, Some(Reason::WaitedTooLong), "nobody knows for whom");
    let run = apply(between(), waits(WaitReason::Unreachable));
    let run = run.apply(Event::Overdue(failure("late")), late, &TIMINGS).expect("overdue");
    assert_eq!(verdict(&run).1, Some(Reason::Unreachable));
}

#[test]
fn p6_a_lock_is_waited_for_since_its_beginning_whatever_else_is_waited_for_meanwhile() {
    for event in [Event::HeldUp(failure("apt holds the lock")), rejected("disk"), busy()] {
        let (mut run, mut now) = (begun(), NOW);
        while run.verdict().is_none() {
            run = run.apply(event.clone(), now, &TIMINGS).expect("legal");
            let Some(at) = run.waiting().and_then(|w| w.next_try) else { break };
            assert_eq!(run.waiting().map(|w| (w.reason, w.since)), Some((WaitReason::Busy, NOW)));
            // As many servers are at work as are allowed; then this one cannot be reached; then it has begun the step.
            now = at + Duration::from_secs(20);
            run = run.apply(waits(WaitReason::Limit), now, &TIMINGS).expect("legal");
            run = run.apply(TRY_STARTED, now, &TIMINGS).expect("legal");
            run = run.apply(unanswered(), now, &TIMINGS).expect("legal");
            run = run.apply(GOES_ON, now, &TIMINGS).expect("legal");
            assert!(now.since(NOW) < 2 * TIMINGS.queue_limit, "it has no end: {run:#?}");
        }
        assert!(now.since(NOW) < TIMINGS.queue_limit + Duration::from_mins(6), "{run:#?}");
    }
}

#[test]
fn a_step_is_waited_for_anew_after_the_one_before_it() {
    let held = |run: Run, now| run.apply(Event::HeldUp(failure("apt holds the lock")), now, &TIMINGS);
    let run = apply(held(begun(), NOW).expect("legal"), TRY_STARTED);
    let run = apply(run, exited(0, Cause::Itself, more()));
    let later = NOW + Duration::from_mins(50);
    let run = held(run, later).expect("legal");
    assert_eq!(run.waiting().map(|w| w.since), Some(later));
}

#[test]
fn each_step_and_each_try_has_its_own_deadline() {
    let now = NOW + Duration::from_secs(50);
    let next = StepFacts { next: Some(Duration::from_secs(7)), ..last() };
    let run = begun().apply(exited(0, Cause::Itself, next), now, &TIMINGS).expect("legal");
    assert_eq!(run.settles_by(), Some(now + Duration::from_secs(7 + 30 + 120)));
}

#[test]
fn a_timeout_ends_the_run_unless_the_operation_says_otherwise() {
    let timeout = |retry_on_timeout| exited(143, Cause::Deadline, StepFacts { retry_on_timeout, ..last() });
    let run = apply(begun(), timeout(false));
    assert_eq!(verdict(&run), (Outcome::Failed, Some(Reason::Timeout), Evidence::ExitRecord));
    let mut run = begun();
    for _ in 0..2 {
        run = apply(apply(run, timeout(true)), TRY_STARTED);
    }
    let run = apply(run, timeout(true));
    assert_eq!(verdict(&run).1, Some(Reason::AttemptsExhausted));
}

#[test]
fn p7_a_payload_that_was_stopped_did_not_succeed_even_if_it_says_zero() {
    let at_deadline = apply(begun(), exited(0, Cause::Deadline, last()));
    assert_eq!(verdict(&at_deadline).1, Some(Reason::Timeout));
    let next_step = apply(begun(), exited(0, Cause::Deadline, more()));
    assert_eq!(verdict(&next_step).1, Some(Reason::Timeout));
    let cancelled = apply(cancelling(), exited(0, Cause::Cancel, last()));
    assert_eq!(verdict(&cancelled).0, Outcome::Cancelled);
}

#[test]
fn p7_a_payload_that_ended_well_before_the_cancel_came_has_succeeded() {
    let run = apply(cancelling(), exited(0, Cause::Itself, last()));
    assert_eq!(verdict(&run), (Outcome::Succeeded, None, Evidence::ExitRecord));
}

#[test]
fn p9_a_running_step_is_cancelled_only_when_it_has_ended() {
    let run = apply(begun(), Event::CancelRequested);
    assert!(run.cancel_requested && run.verdict().is_none());
    assert_eq!(run.live_step().map(|s| s.to_string()), Some(format!("{}.0.1.1", run.id)));
    let stopped = apply(run.clone(), exited(143, Cause::Cancel, last()));
    assert_eq!(verdict(&stopped), (Outcome::Cancelled, Some(Reason::Cancelled), Evidence::ExitRecord));
    let never_begun = apply(run, rejected("cancelled-before-start"));
    assert_eq!(verdict(&never_begun).2, Evidence::NotStarted);
}

#[test]
fn p7_a_lost_step_is_what_a_probe_proves() {
    let lost = apply(begun(), lost());
    assert!(lost.payload && lost.live_step().is_some(), "still the try in question");
    let judge = |proof| apply(lost.clone(), Event::Judged(proof, last()));
    assert_eq!(verdict(&judge(Proof::Success)), (Outcome::Succeeded, None, Evidence::Probe));
    assert_eq!(verdict(&judge(Proof::None)), (Outcome::Failed, Some(Reason::Lost), Evidence::None));
    let again = judge(Proof::Nothing);
    assert_eq!((again.position().attempt, again.position().step), (2, 0));
    let cancelled = apply(Run { cancel_requested: true, ..lost }, Event::Judged(Proof::Nothing, last()));
    assert_eq!(verdict(&cancelled), (Outcome::Cancelled, Some(Reason::Cancelled), Evidence::Probe));
}

#[test]
fn p8_a_removal_ends_gone_or_as_it_began() {
    for earlier in
        [ResourceStatus::Active, ResourceStatus::Success, ResourceStatus::Failed, ResourceStatus::Paused]
    {
        let removal = || queued_for(Operation::Remove, earlier);
        let begun = || apply(removal(), STARTED);
        assert_eq!(removal().fate(), None, "`removing` was set at acceptance");
        assert_eq!(begun().fate(), Some(Fate::Status(ResourceStatus::Removing)));
        assert_eq!(apply(begun(), exited(0, Cause::Itself, last())).fate(), Some(Fate::Gone));
        let ends = [
            apply(removal(), Event::CancelRequested),
            apply(begun(), exited(143, Cause::Deadline, last())),
            apply(apply(begun(), Event::CancelRequested), exited(143, Cause::Cancel, last())),
            apply(apply(begun(), lost()), Event::Judged(Proof::None, last())),
            apply(Run { attempts_max: 1, ..begun() }, fail()),
        ];
        for run in ends {
            assert_eq!(run.fate(), Some(Fate::Status(earlier)), "{:?}", run.verdict());
        }
    }
}

#[test]
fn p14_a_principal_that_lost_its_right_is_blocked_before_anything_began() {
    let blocked = Event::Refused(Outcome::Blocked, Reason::Forbidden, failure("no longer allowed"));
    let run = apply(queued_for(Operation::Install, ResourceStatus::Pending), blocked);
    assert_eq!(verdict(&run), (Outcome::Blocked, Some(Reason::Forbidden), Evidence::NotStarted));
    assert_eq!(run.fate(), Some(Fate::Status(ResourceStatus::Failed)));
}

#[test]
fn a_run_without_steps_is_answered_or_refused_while_it_asks() {
    let register =
        || Run { subject: Subject::Server, ..queued_for(Operation::Register, ResourceStatus::Active) };
    let answered = apply(apply(register(), STARTED), Event::Answered);
    assert_eq!(verdict(&answered), (Outcome::Succeeded, None, Evidence::Probe));
    let refused = Event::Refused(Outcome::Failed, Reason::Refused, failure("another host key"));
    let refused = apply(apply(register(), STARTED), refused);
    assert_eq!(verdict(&refused), (Outcome::Failed, Some(Reason::Refused), Evidence::NotStarted));
    assert_eq!(refused.fate(), None, "it has no resource");
}

#[test]
fn a_panic_is_a_failed_attempt_and_the_last_one_ends_the_run_as_internal() {
    let mut run = queued();
    for attempt in 2..4 {
        run = apply(run, Event::Broken(failure("a panic")));
        assert_eq!((run.position().attempt, run.position().step), (attempt, 0));
        assert_eq!(run.waiting().map(|w| w.reason), Some(WaitReason::Backoff));
    }
    let run = apply(run, Event::Broken(failure("a panic")));
    assert_eq!(verdict(&run), (Outcome::Failed, Some(Reason::Internal), Evidence::NotStarted));
    assert_eq!(run.fate(), Some(Fate::Status(ResourceStatus::Active)), "nothing was touched");
    let only = apply(Run { attempts_max: 1, ..queued() }, Event::Broken(failure("a panic")));
    assert_eq!(verdict(&only).1, Some(Reason::Internal));
}

/// What was applied is known until a change has touched the server, and again only after a success.
#[test]
fn what_is_applied_stays_unknown_until_an_update_succeeds() {
    let known = |run: &Run, resource: Resource| match consequence::for_resource(run, resource) {
        After::Same(r) | After::Changed(r) => r,
        After::Gone(_) => panic!("nothing was removed"),
    };
    let applied =
        |known| Some(Applied { params: Params::new(), digest: "d1".into(), known, by: Operation::Install });
    let before = |state| Resource { applied: applied(state), ..resource() };
    let is_known = |r: &Resource| r.applied.as_ref().is_some_and(|a| a.known);

    let cancelled = queued().apply(Event::CancelRequested, NOW, &TIMINGS).unwrap();
    assert!(is_known(&known(&cancelled, before(true))), "nothing was touched");
    assert!(!is_known(&known(&cancelled, before(false))), "an earlier failure is not forgotten by a cancel");

    let mut failed = queued();
    failed.payload = true;
    let failed = failed.apply(Event::CancelRequested, NOW, &TIMINGS).unwrap();
    assert!(!is_known(&known(&failed, before(true))), "the server was touched");
}

fn resource() -> Resource {
    Resource {
        id: crate::domain::id::ResourceId(ulid::Ulid(2)),
        name: "blog".into(),
        server: crate::domain::id::ServerId(ulid::Ulid(1)),
        server_name: "web1".into(),
        package: "deployment".into(),
        status: ResourceStatus::Active,
        desired: Params::new(),
        former: None,
        applied: None,
        secrets: Vec::new(),
        outputs: Outputs::new(),
        ours: true,
        last_error: None,
        observed: None,
        open_run: None,
        created_at: NOW,
        updated_at: NOW,
        version: 1,
        seq: 1,
    }
}

#[test]
fn p4_a_repair_of_dpkg_is_a_try_of_its_own_and_uses_no_attempt_unless_it_fails() {
    let (long, short) = (Duration::from_secs(1_800), Duration::from_secs(60));
    let refused = StepFacts { repair: Repair::Begins(long), ..last() };
    let repairing =
        apply(begun(), Event::StepEnded(Ended::Rejected { why: "dpkg was interrupted".into() }, refused));
    let at = |run: &Run| (run.position().attempt, run.position().step, run.position().try_no);
    assert_eq!((at(&repairing), repairing.waiting()), ((1, 0, 2), None));
    assert_eq!(repairing.live_step().map(|s| s.try_no), Some(2), "it begins at once");
    assert_eq!(repairing.settles_by(), Some(NOW + long + Duration::from_secs(30 + 120)));

    let was = |next| StepFacts { repair: Repair::Was, next: Some(next), ..last() };
    let again = apply(repairing.clone(), exited(0, Cause::Itself, was(short)));
    assert_eq!((at(&again), again.live_step().is_some()), ((1, 0, 3), true), "then the step itself is tried");
    assert_eq!(again.settles_by(), Some(NOW + short + Duration::from_secs(30 + 120)));

    let failed = apply(repairing.clone(), exited(1, Cause::Itself, was(short)));
    assert_eq!(at(&failed), (2, 0, 1), "a repair that fails is a failed attempt");
    let cancelled = apply(apply(repairing, Event::CancelRequested), exited(143, Cause::Cancel, was(short)));
    assert_eq!(verdict(&cancelled).0, Outcome::Cancelled);
}

#[test]
fn p6_a_run_whose_steps_may_take_long_to_end_settles_that_much_later() {
    let long = Run { kill_grace: Duration::from_secs(600), ..stepping() };
    let settles = |run: &Run| run.settles_by().expect("open");
    assert_eq!(
        settles(&long).since(settles(&stepping())),
        Duration::from_secs(600).saturating_sub(TIMINGS.kill_grace)
    );
    let late = settles(&stepping()) + Duration::from_secs(1);
    assert!(
        long.apply(Event::Overdue(failure("late")), late, &TIMINGS).is_err(),
        "its step may still be ending"
    );
}

/// A step that ended well and wrote this.
fn wrote(pairs: &[(&str, &str)], facts: StepFacts) -> Event {
    let outputs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    exited(0, Cause::Itself, StepFacts { outputs: Some(outputs), ..facts })
}

fn outputs(of: &Outputs) -> Vec<String> {
    of.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn outputs_are_carried_from_step_to_step_and_not_into_another_attempt() {
    let run = apply(begun(), wrote(&[("port", "80"), ("release", "r1")], more()));
    let run = apply(run, wrote(&[("port", "81")], more()));
    assert_eq!(outputs(&run.outputs), ["port=81", "release=r1"]);
    let run = apply(run, exited(1, Cause::Itself, last()));
    assert_eq!((run.position().attempt, run.outputs.len()), (2, 0));
}

#[test]
fn outputs_reach_the_resource_with_success_alone_and_an_empty_one_takes_a_value_away() {
    let after = |operation: Operation, event: Event| {
        let mut run = begun();
        run.operation = operation;
        let before = Resource {
            outputs: [("port", "80"), ("release", "r1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..resource()
        };
        match consequence::for_resource(&apply(run, event), before) {
            After::Changed(resource) | After::Same(resource) | After::Gone(resource) => {
                outputs(&resource.outputs).join(" ")
            }
        }
    };
    let told = || wrote(&[("port", ""), ("path", "/srv")], last());
    assert_eq!(after(Operation::Update, told()), "path=/srv", "all anew");
    assert_eq!(after(Operation::Own("renew".into()), told()), "path=/srv release=r1");
    assert_eq!(after(Operation::Update, wrote(&[("path", "/srv")], more())), "port=80 release=r1");
    let failed = exited(1, Cause::Itself, StepFacts { retry: Retry::Hopeless, ..last() });
    assert_eq!(after(Operation::Update, failed), "port=80 release=r1");
}

#[test]
fn a_step_whose_outputs_do_not_fit_has_failed_and_is_not_tried_again() {
    for facts in [last(), more()] {
        let run = apply(begun(), exited(0, Cause::Itself, StepFacts { outputs: None, ..facts }));
        assert_eq!(verdict(&run), (Outcome::Failed, Some(Reason::StepFailed), Evidence::ExitRecord));
    }
}
