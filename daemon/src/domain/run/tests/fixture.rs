//! Runs in every state, and the events in short form.

use std::time::Duration;

use ulid::Ulid;

use crate::domain::failure::Failure;
use crate::domain::freshness::Thresholds;
use crate::domain::grounds::Seen;
use crate::domain::id::{ResourceId, RunId, ServerId};
use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::{Declared, ResourceStatus};
use crate::domain::run::{
    Event, Phase, Position, Progress, Repair, Retry, Run, RunState, StepFacts, Subject,
};
use crate::domain::step::{Cause, Ended};
use crate::domain::time::Timestamp;
use crate::domain::timings::Timings;
use crate::domain::turn::Priority;
use crate::domain::waiting::{WaitReason, Waiting};

pub(in crate::domain) const NOW: Timestamp = Timestamp(1_000_000_000);
pub(in crate::domain) const TIMEOUT: Duration = Duration::from_mins(10);
pub(in crate::domain) const TIMINGS: Timings = Timings {
    queue_limit: Duration::from_hours(1),
    backoff_first: Duration::from_secs(10),
    backoff_max: Duration::from_mins(1),
    kill_grace: Duration::from_secs(30),
    settle_margin: Duration::from_mins(2),
    busy_retry: Duration::from_secs(15),
};

/// A queued update of an active resource, with 3 attempts.
pub(in crate::domain) fn queued() -> Run {
    queued_for(Operation::Update, ResourceStatus::Active)
}

pub(in crate::domain) fn queued_for(operation: Operation, earlier: ResourceStatus) -> Run {
    let declared = Declared { in_progress: ResourceStatus::Installing, success: ResourceStatus::Active };
    Run {
        id: RunId(Ulid(7)),
        server: ServerId(Ulid(1)),
        server_name: "web1".into(),
        subject: Subject::Resource {
            id: ResourceId(Ulid(2)),
            name: "blog".into(),
            package: "deployment".into(),
            digest: "d1".into(),
            earlier,
            declared,
        },
        exclusive: operation.has_steps(),
        operation,
        attempts_max: 3,
        principal: "unix:0".into(),
        retry_of: None,
        accepted_at: NOW,
        queue_until: NOW + TIMINGS.queue_limit,
        kill_grace: TIMINGS.kill_grace,
        settle_margin: TIMINGS.settle_margin,
        wait_limit: TIMINGS.queue_limit,
        stale: Thresholds::default(),
        progress_at: NOW,
        priority: Priority::Normal,
        cancel_requested: false,
        payload: false,
        parameters: Params::new(),
        outputs: Outputs::new(),
        state: RunState::Queued { waiting: None },
        grounds: None,
        epoch: 0,
        version: 1,
        seq: 1,
    }
}

/// The second step of the first attempt is on the server; the first step has run.
pub(in crate::domain) fn stepping() -> Run {
    running(Phase::Stepping { deadline: NOW + TIMEOUT }, Position { attempt: 1, step: 1, try_no: 1 }, None)
}

/// The second try of the second step waits for a lock; the first step has run.
pub(in crate::domain) fn between() -> Run {
    let waiting = Waiting { reason: WaitReason::Busy, who: "apt".into(), since: NOW, next_try: None };
    let position = Position { attempt: 1, step: 1, try_no: 2 };
    running(Phase::Between { since: NOW }, position, Some(waiting))
}

/// A probe of the resource, which has no steps: its server is being asked.
pub(in crate::domain) fn asking() -> Run {
    apply(Run { attempts_max: 1, ..queued_for(Operation::Probe, ResourceStatus::Active) }, STARTED)
}

/// As [`stepping`], and someone asked for its cancellation.
pub(in crate::domain) fn cancelling() -> Run {
    Run { cancel_requested: true, ..stepping() }
}

pub(in crate::domain) fn completed() -> Run {
    apply(stepping(), exited(0, Cause::Itself, last()))
}

fn running(phase: Phase, position: Position, waiting: Option<Waiting>) -> Run {
    let busy_since = waiting.as_ref().map(|w| w.since);
    let state = RunState::Running(Progress { started_at: NOW, position, phase, busy_since, waiting });
    Run { state, payload: true, ..queued() }
}

/// The run after a legal event.
pub(in crate::domain) fn apply(run: Run, event: Event) -> Run {
    run.apply(event, NOW, &TIMINGS).expect("legal")
}

pub(in crate::domain) fn failure(message: &str) -> Failure {
    Failure {
        step: "unpack".into(),
        exit_code: None,
        message: message.into(),
        last_lines: String::new(),
        run: RunId(Ulid(7)),
        at: NOW,
    }
}

/// Facts of a step that is followed by another.
pub(in crate::domain) fn more() -> StepFacts {
    StepFacts { next: Some(TIMEOUT), ..last() }
}

/// Facts of the last step.
pub(in crate::domain) fn last() -> StepFacts {
    StepFacts {
        next: None,
        retry: Retry::May,
        retry_on_timeout: false,
        repair: Repair::No,
        outputs: Some(Outputs::new()),
        failure: failure("it broke"),
        seen: Seen::default(),
    }
}

pub(in crate::domain) const fn exited(code: i32, cause: Cause, facts: StepFacts) -> Event {
    Event::StepEnded(Ended::Exited { code, cause }, facts)
}

pub(in crate::domain) fn rejected(why: &str) -> Event {
    Event::StepEnded(Ended::Rejected { why: why.into() }, last())
}

pub(in crate::domain) fn lost() -> Event {
    Event::StepEnded(Ended::Lost { why: "reboot".into() }, last())
}

pub(in crate::domain) fn waits(reason: WaitReason) -> Event {
    Event::Waits { reason, who: "someone".into(), next_try: Some(NOW + Duration::from_secs(5)) }
}

pub(in crate::domain) const STARTED: Event = Event::Started { timeout: TIMEOUT };
pub(in crate::domain) const TRY_STARTED: Event = Event::TryStarted { timeout: TIMEOUT };
pub(in crate::domain) const GOES_ON: Event = Event::GoesOn { began: None };

/// The start of the try was not answered; it is sent again after 15 s.
pub(in crate::domain) fn unanswered() -> Event {
    let next_try = NOW + Duration::from_secs(15);
    Event::Unanswered { who: "connection reset".into(), next_try, timeout: TIMEOUT }
}
