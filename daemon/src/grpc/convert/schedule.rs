//! Schedules and their occurrences, and targets as they are asked for.

use settled_proto::v1;
use settled_proto::v1::schedule_target::Target as Wire;

use super::{count, time};
use crate::domain::operation::Operation;
use crate::domain::schedule::{
    Cause, Enrolling, Fate, Last, Missed, Occurrence, On, Overlap, Schedule, Target, Whom, Work,
};
use crate::engine::Refusal;
use crate::store::StoreError;
use crate::store::rows::{OccurrenceRow, ScheduleRow};

/// A schedule.
pub(in crate::grpc) fn schedule(s: &Schedule) -> v1::Schedule {
    v1::Schedule {
        id: s.id.to_string(),
        name: s.name.clone(),
        cron: s.cron.clone(),
        time_zone: s.time_zone.clone(),
        target: Some(v1::ScheduleTarget { target: Some(target(&s.target)) }),
        overlap: overlap(s.overlap).into(),
        missed: missed(s.missed).into(),
        missed_within_s: s.missed_within.map_or(0, seconds),
        jitter_s: seconds(s.jitter),
        starts_at: s.starts_at.map(time),
        ends_at: s.ends_at.map(time),
        paused: s.paused,
        principal: s.principal.clone(),
        next_due: s.next_due.map(time),
        next_fire_at: s.next_fire_at().map(time),
        open_run_ids: s.open_runs.iter().map(ToString::to_string).collect(),
        open_enrollment_ids: s.open_enrollments.iter().map(ToString::to_string).collect(),
        waiting: u32::try_from(s.waiting).unwrap_or(0),
        last: s.last.as_ref().map(last),
        built_in: s.chore().is_some(),
        created_at: Some(time(s.created_at)),
        updated_at: Some(time(s.updated_at)),
        seq: count(s.seq),
    }
}

/// A schedule as it was stored.
pub(in crate::grpc) fn schedule_row(row: ScheduleRow) -> Result<v1::Schedule, StoreError> {
    Ok(schedule(&row.try_into()?))
}

/// An occurrence.
pub(in crate::grpc) fn occurrence(o: &Occurrence) -> v1::Occurrence {
    let refused =
        |(target, why): &(String, String)| v1::RefusedTarget { target: target.clone(), why: why.clone() };
    v1::Occurrence {
        schedule_id: o.schedule.to_string(),
        due: Some(time(o.due)),
        until: Some(time(o.until)),
        count: count(o.count),
        cause: cause(o.cause).into(),
        fate: fate(o.fate).into(),
        why: o.why.clone(),
        run_ids: o.runs.iter().map(ToString::to_string).collect(),
        enrollment_ids: o.enrollments.iter().map(ToString::to_string).collect(),
        refused: o.refused.iter().map(refused).collect(),
        principal: o.principal.clone().unwrap_or_default(),
        at: Some(time(o.at)),
    }
}

/// An occurrence as it was stored.
pub(in crate::grpc) fn occurrence_row(row: OccurrenceRow) -> Result<v1::Occurrence, StoreError> {
    Ok(occurrence(&row.try_into()?))
}

fn seconds(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

fn target(target: &Target) -> Wire {
    let work = match target {
        Target::Chore(chore) => return Wire::Chore(chore.to_string()),
        Target::Enrolling(enrolling) => return Wire::Enrollment(enrollment_target(enrolling)),
        Target::Work(work) => work,
    };
    let mut wire = v1::OperationTarget {
        package: work.package.clone(),
        operation: work.operation.to_string(),
        name: work.name.clone(),
        parameters: work.parameters.clone(),
        ..v1::OperationTarget::default()
    };
    match &work.on {
        On::Servers(names) => wire.servers.clone_from(names),
        On::Labels(labels) => wire.labels.clone_from(labels),
        On::Resources(paths) => wire.resources.clone_from(paths),
    }
    Wire::Operation(wire)
}

fn enrollment_target(enrolling: &Enrolling) -> v1::EnrollmentTarget {
    let Enrolling { lifecycle, whom, payload, again } = enrolling.clone();
    let wire = v1::EnrollmentTarget { lifecycle, payload, again, ..v1::EnrollmentTarget::default() };
    match whom {
        Whom::Subjects(subjects) => v1::EnrollmentTarget { subjects, ..wire },
        Whom::Labelled { labels, package } => {
            v1::EnrollmentTarget { labels, package: package.unwrap_or_default(), ..wire }
        }
    }
}

fn enrolling_asked(wire: v1::EnrollmentTarget) -> Result<Target, Refusal> {
    let v1::EnrollmentTarget { lifecycle, subjects, labels, package, payload, again } = wire;
    let whom = match (subjects.is_empty(), labels.is_empty()) {
        (false, true) if package.is_empty() => Whom::Subjects(subjects),
        (true, false) => Whom::Labelled { labels, package: Some(package).filter(|name| !name.is_empty()) },
        (false, true) => {
            return Err(Refusal::field(
                "target.enrollment.package",
                "goes with labels only: subjects are whole",
            ));
        }
        _ => return Err(Refusal::field("target.enrollment", "takes exactly one of subjects and labels")),
    };
    Ok(Target::Enrolling(Enrolling { lifecycle, whom, payload, again }))
}

/// The target that a request asks for.
pub(in crate::grpc) fn target_asked(wire: v1::ScheduleTarget) -> Result<Target, Refusal> {
    let operation = match wire.target {
        Some(Wire::Operation(operation)) => operation,
        Some(Wire::Enrollment(enrollment)) => return enrolling_asked(enrollment),
        Some(Wire::Chore(_)) => {
            return Err(Refusal::field(
                "target.chore",
                "is only of built-in schedules, which are there already",
            ));
        }
        None => return Err(Refusal::field("target", "is missing: say what is to be done")),
    };
    let v1::OperationTarget { package, operation, name, servers, labels, resources, parameters } = operation;
    let on = match (servers.is_empty(), labels.is_empty(), resources.is_empty()) {
        (false, true, true) => On::Servers(servers),
        (true, false, true) => On::Labels(labels),
        (true, true, false) => On::Resources(resources),
        _ => {
            return Err(Refusal::field(
                "target.operation",
                "takes exactly one of servers, labels and resources",
            ));
        }
    };
    let operation = Operation::from_word(&operation);
    Ok(Target::Work(Work { package, operation, name, on, parameters }))
}

fn last(last: &Last) -> v1::LastOccurrence {
    v1::LastOccurrence { due: Some(time(last.due)), fate: fate(last.fate).into(), why: last.why.clone() }
}

const fn overlap(word: Overlap) -> v1::Overlap {
    match word {
        Overlap::Skip => v1::Overlap::Skip,
        Overlap::Queue => v1::Overlap::Queue,
        Overlap::CancelEarlier => v1::Overlap::CancelEarlier,
    }
}

/// The policy that a request asks for; `None`: it says nothing.
pub(in crate::grpc) const fn overlap_asked(word: v1::Overlap) -> Option<Overlap> {
    match word {
        v1::Overlap::Unspecified => None,
        v1::Overlap::Skip => Some(Overlap::Skip),
        v1::Overlap::Queue => Some(Overlap::Queue),
        v1::Overlap::CancelEarlier => Some(Overlap::CancelEarlier),
    }
}

const fn missed(word: Missed) -> v1::MissedPolicy {
    match word {
        Missed::None => v1::MissedPolicy::None,
        Missed::Once => v1::MissedPolicy::Once,
        Missed::All => v1::MissedPolicy::All,
    }
}

/// The policy that a request asks for; `None`: it says nothing.
pub(in crate::grpc) const fn missed_asked(word: v1::MissedPolicy) -> Option<Missed> {
    match word {
        v1::MissedPolicy::Unspecified => None,
        v1::MissedPolicy::None => Some(Missed::None),
        v1::MissedPolicy::Once => Some(Missed::Once),
        v1::MissedPolicy::All => Some(Missed::All),
    }
}

const fn fate(word: Fate) -> v1::Fate {
    match word {
        Fate::Waiting => v1::Fate::Waiting,
        Fate::Fired => v1::Fate::Fired,
        Fate::Skipped => v1::Fate::Skipped,
        Fate::Missed => v1::Fate::Missed,
        Fate::Refused => v1::Fate::Refused,
    }
}

/// The fate of a filter; `None` means any.
pub(in crate::grpc) const fn fate_asked(word: v1::Fate) -> Option<Fate> {
    match word {
        v1::Fate::Unspecified => None,
        v1::Fate::Waiting => Some(Fate::Waiting),
        v1::Fate::Fired => Some(Fate::Fired),
        v1::Fate::Skipped => Some(Fate::Skipped),
        v1::Fate::Missed => Some(Fate::Missed),
        v1::Fate::Refused => Some(Fate::Refused),
    }
}

const fn cause(word: Cause) -> v1::Cause {
    match word {
        Cause::Due => v1::Cause::Due,
        Cause::MadeUp => v1::Cause::MadeUp,
        Cause::ByHand => v1::Cause::ByHand,
    }
}
