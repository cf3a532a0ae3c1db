//! Runs.

use settled_proto::v1;

use super::{count, failure, grounds, summary, time, waiting, words};
use crate::domain::freshness::Freshness;
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::time::Timestamp;
use crate::domain::waiting::{WaitReason, Waiting};
use crate::store::StoreError;
use crate::store::admin::LeaseRow;
use crate::store::lanes::{LaneRow, UnresolvedRow};
use crate::store::rows::RunRow;

/// A queued run's place in its lane. Computed when read, never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::grpc) struct Place {
    /// 1 = next.
    pub(in crate::grpc) position: u32,
    /// The run that has the lane or stands before it; `None` when nothing is in its way.
    pub(in crate::grpc) behind: Option<String>,
    /// Why nothing is begun on its server.
    pub(in crate::grpc) shut: Option<Waiting>,
    /// Since when and why this daemon begins not even the next one.
    pub(in crate::grpc) held: Option<(Timestamp, String)>,
}

/// A run as it is read now, with its place if it is known.
pub(in crate::grpc) fn run(
    row: &RunRow,
    place: Option<&Place>,
    now: Timestamp,
) -> Result<v1::Run, StoreError> {
    let known: Run = row.clone().try_into()?;
    let mut wire = as_stored(row, &known, place);
    let freshness = known.freshness(now);
    wire.set_freshness(words::freshness(freshness));
    if freshness == Freshness::LikelyStale {
        let settles_by = Timestamp(row.settles_by.unwrap_or(now.0));
        wire.summary = summary::stale(&wire.summary, known.progress_at, settles_by);
    }
    Ok(wire)
}

/// A run as transitions and answers tell it, the same whenever they are read.
pub(in crate::grpc) fn run_as_stored(row: &RunRow, place: Option<&Place>) -> Result<v1::Run, StoreError> {
    let run: Run = row.clone().try_into()?;
    Ok(as_stored(row, &run, place))
}

fn as_stored(row: &RunRow, run: &Run, place: Option<&Place>) -> v1::Run {
    let waits = shut(run, place).or_else(|| run.waiting().cloned()).or_else(|| in_line(run, place?));
    let mut wire = v1::Run {
        settles_by: row.settles_by.map(|t| time(Timestamp(t))),
        stale_at: row.stale_at.map(|t| time(Timestamp(t))),
        waiting: waits.as_ref().map(waiting),
        position: place.map(|p| p.position).unwrap_or_default(),
        summary: summary::of(run, waits.as_ref(), place.map(|p| p.position)),
        grounds: run.grounds.as_ref().map(grounds::grounds),
        outputs: run.outputs.clone(),
        ..known(run)
    };
    set_subject(&mut wire, &run.subject);
    set_state(&mut wire, &run.state);
    wire
}

/// Who looks after a run, as far as the store knows. `lane` with its owner's lease, and what is not proven to have ended there.
pub(in crate::grpc) fn diagnostics(
    row: &RunRow,
    lane: Option<&LaneRow>,
    lease: Option<&LeaseRow>,
    unresolved: &[UnresolvedRow],
) -> v1::RunDiagnostics {
    let threshold = match row.state.as_str() {
        "queued" => row.stale_queued,
        "running" => row.stale_running,
        _ => 0,
    };
    v1::RunDiagnostics {
        progress_at: Some(time(Timestamp(row.progress_at))),
        stale_after_s: count(threshold / 1_000_000),
        owner: lane.and_then(|lane| lane.owner.clone()).unwrap_or_default(),
        owner_lease_until: lease.map(|lease| time(Timestamp(lease.lease_until))),
        owner_alive: lease.is_some_and(|lease| lease.alive),
        lane_epoch: lane.map(|lane| count(lane.epoch)).unwrap_or_default(),
        unresolved_step_ids: unresolved.iter().map(|step| step.step_id.clone()).collect(),
    }
}

/// The server's door is shut, whatever kept the run before: nobody has its lane who could write that down.
fn shut(run: &Run, place: Option<&Place>) -> Option<Waiting> {
    let shut = place?.shut.clone()?;
    let since = run.waiting_since(shut.reason, shut.since.max(run.accepted_at));
    Some(Waiting { since, ..shut })
}

/// Why a queued run waits that has no other reason: another one is before it, or none is begun.
fn in_line(run: &Run, place: &Place) -> Option<Waiting> {
    if let Some((since, who)) = place.held.clone() {
        return Some(Waiting {
            reason: WaitReason::Drain,
            who,
            since: run.accepted_at.max(since),
            next_try: None,
        });
    }
    let ahead = place.behind.as_ref()?;
    let who = format!("run {ahead} is ahead; place {} in the queue", place.position);
    Some(Waiting { reason: WaitReason::Lane, who, since: run.accepted_at, next_try: None })
}

fn known(run: &Run) -> v1::Run {
    let position = run.position();
    v1::Run {
        id: run.id.to_string(),
        server_id: run.server.to_string(),
        server: run.server_name.clone(),
        operation: run.operation.to_string(),
        exclusive: run.exclusive,
        attempt: position.attempt,
        max_attempts: run.attempts_max,
        step: position.step,
        r#try: position.try_no,
        principal: run.principal.clone(),
        retry_of: run.retry_of.map(|id| id.to_string()).unwrap_or_default(),
        cancel_requested: run.cancel_requested,
        accepted_at: Some(time(run.accepted_at)),
        seq: count(run.seq),
        epoch: count(run.epoch),
        priority: words::priority(run.priority).into(),
        parameters: run.parameters.clone(),
        ..v1::Run::default()
    }
}

fn set_subject(wire: &mut v1::Run, subject: &Subject) {
    match subject {
        Subject::Server => {}
        Subject::Resource { id, name, package, digest, .. } => {
            wire.resource_id = id.to_string();
            wire.resource.clone_from(name);
            wire.package.clone_from(package);
            wire.digest.clone_from(digest);
        }
    }
}

fn set_state(wire: &mut v1::Run, state: &RunState) {
    match state {
        RunState::Queued { .. } => wire.set_state(v1::RunState::Queued),
        RunState::Running(progress) => {
            wire.set_state(v1::RunState::Running);
            wire.started_at = Some(time(progress.started_at));
        }
        RunState::Completed { started_at, verdict, .. } => {
            wire.set_state(v1::RunState::Completed);
            wire.set_outcome(words::outcome(verdict.outcome));
            wire.set_reason(verdict.reason.map_or(v1::Reason::Unspecified, words::reason));
            wire.set_evidence(words::evidence(verdict.evidence));
            wire.reconciled = verdict.reconciled;
            wire.set_freshness(words::freshness(verdict.freshness()));
            wire.failure = verdict.failure.as_ref().map(failure);
            wire.started_at = started_at.map(time);
            wire.completed_at = Some(time(verdict.at));
        }
    }
}
