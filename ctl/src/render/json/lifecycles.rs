//! Lifecycles, enrollments and their log as JSON.

use serde_json::{Value, json};
use settled_proto::v1::{
    Activation, ApplyLifecycleResponse, CleanLifecyclesResponse, EnrollResponse, Enrollment,
    EnrollmentStatus, Execution, ExecutionOutcome, Lifecycle, RunLifecycleResponse,
};

use super::{maybe, named, time};

/// A lifecycle.
pub(crate) fn lifecycle(l: &Lifecycle) -> Value {
    json!({
        "id": l.id,
        "code": l.code,
        "name": l.name,
        "active": l.active,
        "starts_at": time(l.starts_at.as_ref()),
        "ends_at": time(l.ends_at.as_ref()),
        "activation": named::<Activation>(l.activation),
        "revision": l.revision,
        "stages": l.stages,
        "source": l.source,
        "enrollments": l.enrollments,
        "created_at": time(l.created_at.as_ref()),
        "updated_at": time(l.updated_at.as_ref()),
    })
}

/// The answer to `lifecycle apply`.
pub(crate) fn applied(r: &ApplyLifecycleResponse) -> Value {
    json!({ "lifecycle": maybe(r.lifecycle.as_ref(), lifecycle), "change": r.change })
}

/// The answer to `lifecycle run`.
pub(crate) fn ran(r: &RunLifecycleResponse) -> Value {
    json!({ "codes": r.codes })
}

/// The answer to `lifecycle clean`.
pub(crate) fn cleaned(r: &CleanLifecyclesResponse) -> Value {
    json!({ "enrollments": r.enrollments, "executions": r.executions })
}

/// An enrollment.
pub(crate) fn enrollment(e: &Enrollment) -> Value {
    json!({
        "id": e.id,
        "lifecycle": e.lifecycle,
        "subject_type": e.subject_type,
        "subject_id": e.subject_id,
        "server_id": e.server_id,
        "resource_id": e.resource_id,
        "principal": e.principal,
        "status": named::<EnrollmentStatus>(e.status),
        "stage": e.stage,
        "revision": e.revision,
        "attempt": e.attempt,
        "deferrals": e.deferrals,
        "payload": e.payload,
        "executes_at": time(e.executes_at.as_ref()),
        "waits_since": time(e.waits_since.as_ref()),
        "waits_for": e.waits_for,
        "run_id": e.run_id,
        "queue": e.queue,
        "worker": e.worker,
        "until": time(e.until.as_ref()),
        "ended_at": time(e.ended_at.as_ref()),
        "last_error": e.last_error,
        "created_at": time(e.created_at.as_ref()),
        "updated_at": time(e.updated_at.as_ref()),
        "seq": e.seq,
    })
}

/// The answer to `enroll`.
pub(crate) fn enrolled(r: &EnrollResponse) -> Value {
    json!({ "enrollment": maybe(r.enrollment.as_ref(), enrollment), "change": r.change })
}

/// A line of the log.
pub(crate) fn execution(e: &Execution) -> Value {
    json!({
        "seq": e.seq,
        "at": time(e.at.as_ref()),
        "enrollment_id": e.enrollment_id,
        "lifecycle": e.lifecycle,
        "subject_type": e.subject_type,
        "subject_id": e.subject_id,
        "stage": e.stage,
        "revision": e.revision,
        "attempt": e.attempt,
        "deferrals": e.deferrals,
        "outcome": named::<ExecutionOutcome>(e.outcome),
        "payload_before": e.payload_before,
        "payload_after": e.payload_after,
        "error": e.error,
        "run_id": e.run_id,
        "who": e.who,
    })
}
