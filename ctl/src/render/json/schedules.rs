//! Schedules, and what became of their due times, as JSON.

use serde_json::{Value, json};
use settled_proto::v1::{
    Cause, EnrollmentTarget, Fate, FireScheduleResponse, LastOccurrence, MissedPolicy, Occurrence,
    OperationTarget, Overlap, RefusedTarget, Schedule, ScheduleTarget, schedule_target,
};

use super::{maybe, named, time};

/// A schedule.
pub(crate) fn schedule(s: &Schedule) -> Value {
    json!({
        "id": s.id,
        "name": s.name,
        "cron": s.cron,
        "time_zone": s.time_zone,
        "target": maybe(s.target.as_ref(), schedule_target),
        "overlap": named::<Overlap>(s.overlap),
        "missed": named::<MissedPolicy>(s.missed),
        "missed_within_s": s.missed_within_s,
        "jitter_s": s.jitter_s,
        "starts_at": time(s.starts_at.as_ref()),
        "ends_at": time(s.ends_at.as_ref()),
        "paused": s.paused,
        "principal": s.principal,
        "next_due": time(s.next_due.as_ref()),
        "next_fire_at": time(s.next_fire_at.as_ref()),
        "open_run_ids": s.open_run_ids,
        "open_enrollment_ids": s.open_enrollment_ids,
        "waiting": s.waiting,
        "last": maybe(s.last.as_ref(), last_occurrence),
        "built_in": s.built_in,
        "created_at": time(s.created_at.as_ref()),
        "updated_at": time(s.updated_at.as_ref()),
        "seq": s.seq,
    })
}

/// A target: the one that it is, by its name.
fn schedule_target(t: &ScheduleTarget) -> Value {
    use schedule_target::Target;
    match &t.target {
        None => json!({}),
        Some(Target::Operation(o)) => json!({ "operation": operation_target(o) }),
        Some(Target::Enrollment(e)) => json!({ "enrollment": enrollment_target(e) }),
        Some(Target::Chore(chore)) => json!({ "chore": chore }),
    }
}

pub(super) fn operation_target(o: &OperationTarget) -> Value {
    json!({
        "package": o.package,
        "operation": o.operation,
        "name": o.name,
        "servers": o.servers,
        "labels": o.labels,
        "resources": o.resources,
        "parameters": o.parameters,
    })
}

pub(super) fn enrollment_target(e: &EnrollmentTarget) -> Value {
    json!({
        "lifecycle": e.lifecycle,
        "subjects": e.subjects,
        "labels": e.labels,
        "package": e.package,
        "payload": e.payload,
        "again": e.again,
    })
}

pub(super) fn last_occurrence(l: &LastOccurrence) -> Value {
    json!({ "due": time(l.due.as_ref()), "fate": named::<Fate>(l.fate), "why": l.why })
}

/// An occurrence.
pub(crate) fn occurrence(o: &Occurrence) -> Value {
    json!({
        "schedule_id": o.schedule_id,
        "due": time(o.due.as_ref()),
        "until": time(o.until.as_ref()),
        "count": o.count,
        "cause": named::<Cause>(o.cause),
        "fate": named::<Fate>(o.fate),
        "why": o.why,
        "run_ids": o.run_ids,
        "enrollment_ids": o.enrollment_ids,
        "refused": o.refused.iter().map(refused_target).collect::<Vec<_>>(),
        "principal": o.principal,
        "at": time(o.at.as_ref()),
    })
}

pub(super) fn refused_target(r: &RefusedTarget) -> Value {
    json!({ "target": r.target, "why": r.why })
}

/// A schedule with its next times and its history.
pub(crate) fn schedule_story(
    s: &Schedule,
    times: &[prost_types::Timestamp],
    occurrences: &[Occurrence],
) -> Value {
    json!({
        "schedule": schedule(s),
        "next_times": times.iter().map(|at| time(Some(at))).collect::<Vec<_>>(),
        "occurrences": occurrences.iter().map(occurrence).collect::<Vec<_>>(),
    })
}

/// What came of firing by hand.
pub(crate) fn fired(r: &FireScheduleResponse) -> Value {
    json!({
        "schedule": maybe(r.schedule.as_ref(), schedule),
        "occurrence": maybe(r.occurrence.as_ref(), occurrence),
    })
}
