//! Lifecycles, enrollments, tasks and the log.

use settled_proto::v1;

use super::{count, time};
use crate::domain::enrollment::{Enrollment, Outcome, State, Status, Work};
use crate::domain::lifecycle::{Activation, Lifecycle, Rest};
use crate::domain::time::Timestamp;
use crate::engine::Task;
use crate::store::StoreError;
use crate::store::rows::{EnrollmentRow, ExecutionRow, LifecycleRow};

/// A lifecycle; its text and its counts are added by whoever has them.
pub(in crate::grpc) fn lifecycle(l: &Lifecycle, stages: Vec<String>) -> v1::Lifecycle {
    let activation = match l.activation {
        Activation::Cron => v1::Activation::Cron,
        Activation::Hand => v1::Activation::Hand,
    };
    v1::Lifecycle {
        id: l.id.to_string(),
        code: l.code.clone(),
        name: l.name.clone(),
        active: l.active,
        starts_at: l.starts_at.map(time),
        ends_at: l.ends_at.map(time),
        activation: activation.into(),
        revision: l.revision,
        stages,
        created_at: Some(time(l.created_at)),
        updated_at: Some(time(l.updated_at)),
        ..v1::Lifecycle::default()
    }
}

/// A lifecycle as it was stored.
pub(in crate::grpc) fn lifecycle_row(
    row: LifecycleRow,
    stages: Vec<String>,
) -> Result<v1::Lifecycle, StoreError> {
    Ok(lifecycle(&row.try_into()?, stages))
}

/// An enrollment. `rest`: why its lifecycle works nothing off now.
pub(in crate::grpc) fn enrollment(e: &Enrollment, rest: Option<Rest>) -> v1::Enrollment {
    let status = match e.status() {
        Status::Pending => v1::EnrollmentStatus::Pending,
        Status::Processing => v1::EnrollmentStatus::Processing,
        Status::Completed => v1::EnrollmentStatus::Completed,
        Status::Failed => v1::EnrollmentStatus::Failed,
    };
    let (queue, worker) = match e.work() {
        Some(Work::Offer { queue, .. }) => (queue.clone(), String::new()),
        Some(Work::Task { queue, worker, .. }) => (queue.clone(), worker.clone()),
        _ => (String::new(), String::new()),
    };
    let ended_at = match &e.state {
        State::Completed { at } | State::Failed { at } => Some(time(*at)),
        State::Waiting { .. } | State::Working { .. } => None,
    };
    let rest = rest.filter(|_| e.status() == Status::Pending);
    v1::Enrollment {
        id: e.id.to_string(),
        lifecycle: e.code.clone(),
        subject_type: e.subject.kind.clone(),
        subject_id: e.subject.id.clone(),
        server_id: e.subject.server.map(|id| id.to_string()).unwrap_or_default(),
        resource_id: e.subject.resource.map(|id| id.to_string()).unwrap_or_default(),
        principal: e.principal.clone(),
        status: status.into(),
        stage: e.stage.clone(),
        revision: e.revision,
        attempt: e.attempt,
        deferrals: e.deferrals,
        payload: e.payload.clone(),
        executes_at: e.due().map(time),
        waits_since: e.waiting_since().map(time),
        waits_for: rest.map_or_else(|| e.waits_for.clone(), |rest| rest.to_string()),
        run_id: e.work().and_then(Work::run).map(|id| id.to_string()).unwrap_or_default(),
        queue,
        worker,
        until: e.work().and_then(Work::until).map(time),
        ended_at,
        last_error: e.last_error.clone(),
        created_at: Some(time(e.created_at)),
        updated_at: Some(time(e.updated_at)),
        seq: count(e.seq),
    }
}

/// An enrollment as it was stored.
pub(in crate::grpc) fn enrollment_row(row: EnrollmentRow) -> Result<v1::Enrollment, StoreError> {
    Ok(enrollment(&row.try_into()?, None))
}

/// A task.
pub(in crate::grpc) fn task(task: &Task) -> v1::Task {
    v1::Task {
        id: task.id.to_string(),
        enrollment: Some(enrollment(&task.enrollment, None)),
        is_retry: task.enrollment.attempt > 1,
        lease_until: Some(time(task.lease_until)),
    }
}

/// A line of the log.
pub(in crate::grpc) fn execution(row: &ExecutionRow) -> Result<v1::Execution, StoreError> {
    let outcome = Outcome::parse(&row.outcome)
        .ok_or_else(|| StoreError::Corrupt(format!("outcome `{}`", row.outcome)))?;
    let number = |n: i64| u32::try_from(n).unwrap_or(0);
    Ok(v1::Execution {
        seq: count(row.seq),
        at: Some(time(Timestamp(row.at))),
        enrollment_id: row.enrollment_id.clone(),
        lifecycle: row.code.clone(),
        subject_type: row.subject_type.clone(),
        subject_id: row.subject_id.clone(),
        stage: row.stage.clone(),
        revision: number(row.revision),
        attempt: number(row.attempt),
        deferrals: number(row.deferrals),
        outcome: execution_outcome(outcome).into(),
        payload_before: row.payload_before.clone(),
        payload_after: row.payload_after.clone(),
        error: row.error.clone(),
        run_id: row.run_id.clone().unwrap_or_default(),
        who: row.who.clone(),
    })
}

const fn execution_outcome(word: Outcome) -> v1::ExecutionOutcome {
    match word {
        Outcome::Succeeded => v1::ExecutionOutcome::Succeeded,
        Outcome::Failed => v1::ExecutionOutcome::Failed,
        Outcome::TimedOut => v1::ExecutionOutcome::TimedOut,
        Outcome::Skipped => v1::ExecutionOutcome::Skipped,
        Outcome::Advanced => v1::ExecutionOutcome::Advanced,
        Outcome::Retried => v1::ExecutionOutcome::Retried,
        Outcome::Reset => v1::ExecutionOutcome::Reset,
    }
}

/// The outcome of a filter; `None` means any.
pub(in crate::grpc) const fn execution_outcome_of(word: v1::ExecutionOutcome) -> Option<Outcome> {
    match word {
        v1::ExecutionOutcome::Unspecified => None,
        v1::ExecutionOutcome::Succeeded => Some(Outcome::Succeeded),
        v1::ExecutionOutcome::Failed => Some(Outcome::Failed),
        v1::ExecutionOutcome::TimedOut => Some(Outcome::TimedOut),
        v1::ExecutionOutcome::Skipped => Some(Outcome::Skipped),
        v1::ExecutionOutcome::Advanced => Some(Outcome::Advanced),
        v1::ExecutionOutcome::Retried => Some(Outcome::Retried),
        v1::ExecutionOutcome::Reset => Some(Outcome::Reset),
    }
}

/// The status of a filter; `None` means any.
pub(in crate::grpc) const fn enrollment_status_of(word: v1::EnrollmentStatus) -> Option<Status> {
    match word {
        v1::EnrollmentStatus::Unspecified => None,
        v1::EnrollmentStatus::Pending => Some(Status::Pending),
        v1::EnrollmentStatus::Processing => Some(Status::Processing),
        v1::EnrollmentStatus::Completed => Some(Status::Completed),
        v1::EnrollmentStatus::Failed => Some(Status::Failed),
    }
}
