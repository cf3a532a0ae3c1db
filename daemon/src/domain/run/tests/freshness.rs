//! When an open run is shown as likely stale, and that this decides nothing.

use std::time::Duration;

use super::fixture::*;
use crate::domain::freshness::{Freshness, Thresholds};
use crate::domain::run::{Event, Phase, Progress, Run, RunState};
use crate::domain::waiting::WaitReason;

const UNIT: Duration = Duration::from_micros(1);

/// It is fresh up to `after` from now, and likely stale one unit later.
#[track_caller]
fn stale_after(run: &Run, after: Duration) {
    let at = NOW + after;
    assert_eq!(run.stale_at(), Some(at));
    assert_eq!(run.freshness(at), Freshness::Fresh);
    assert_eq!(run.freshness(at + UNIT), Freshness::LikelyStale);
}

fn with(stale: Thresholds, run: Run) -> Run {
    Run { stale, ..run }
}

#[test]
fn each_state_has_its_own_threshold_and_each_run_its_own() {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    for stale in
        [Thresholds { queued: minute, running: second }, Thresholds { queued: second, running: minute }]
    {
        stale_after(&with(stale, queued()), stale.queued);
        stale_after(&with(stale, stepping()), stale.running);
        stale_after(&with(stale, between()), stale.running);
        stale_after(&with(stale, asking()), stale.running);
    }
}

#[test]
fn whatever_happens_to_it_is_a_sign_of_life_and_a_promise_to_look_again_counts() {
    let later = NOW + Duration::from_secs(50);
    let run = queued().apply(waits(WaitReason::Busy), later, &TIMINGS).expect("legal");
    // It looks again after 5 s of NOW, which is past.
    assert_eq!((run.progress_at, run.stale_at()), (later, Some(later + run.stale.queued)));
    let looks_again = NOW + Duration::from_secs(500);
    let promise = Event::Waits { reason: WaitReason::Backoff, who: "x".into(), next_try: Some(looks_again) };
    let run = apply(between(), promise);
    assert_eq!(run.stale_at(), Some(looks_again + run.stale.running));
}

#[test]
fn what_somebody_has_paused_is_not_stale_for_that() {
    let paused = apply(queued(), waits(WaitReason::Paused));
    assert_eq!(paused.stale_at(), Some(paused.queue_until));
    assert_eq!(paused.settles_by(), Some(paused.queue_until), "its limit counts all the same");
}

#[test]
fn p6_it_is_shown_before_it_is_settled() {
    let never = Thresholds { queued: Duration::from_hours(90), running: Duration::from_hours(90) };
    let run = with(never, stepping());
    stale_after(&run, TIMEOUT + TIMINGS.kill_grace);
    let patient = Run { kill_grace: Duration::from_mins(10), ..run.clone() };
    stale_after(&patient, TIMEOUT + patient.kill_grace);
    assert!(patient.stale_at() < patient.settles_by(), "a step may have its own time to end");
    assert!(run.stale_at() < run.settles_by());
    let limit = Duration::from_mins(10);
    let short = never.of_run(limit, None, UNIT);
    assert_eq!(short.queued, limit / 2, "half of the time that it may stay queued");
    let running = |expected, takeover| never.of_run(limit, Some(expected), takeover).running;
    assert_eq!(running(2 * UNIT, UNIT), 2 * UNIT, "as long as its operation usually takes");
    assert_eq!(running(UNIT, 2 * UNIT), 2 * UNIT, "and no shorter than a takeover, which is ordinary");
}

#[test]
fn what_is_over_is_told_by_who_ended_it() {
    let far = NOW + Duration::from_hours(1_000);
    let done = completed();
    assert_eq!((done.freshness(far), done.stale_at()), (Freshness::Terminal, None));
    let overdue =
        queued().apply(Event::Overdue(failure("late")), far, &TIMINGS).expect("its time has passed");
    assert_eq!(overdue.freshness(far), Freshness::Reconciled);
}

#[test]
fn being_stale_changes_nothing() {
    let run = stepping();
    let at = run.stale_at().expect("it is open") + UNIT;
    let refused = run.clone().apply(Event::Overdue(failure("stale")), at, &TIMINGS);
    assert!(refused.is_err(), "only `settles_by` ends a run");
    let state = RunState::Running(Progress {
        started_at: NOW,
        position: run.position(),
        phase: Phase::Stepping { deadline: NOW + TIMEOUT },
        busy_since: None,
        waiting: None,
    });
    assert_eq!((run.state.clone(), run.freshness(at)), (state, Freshness::LikelyStale));
}
