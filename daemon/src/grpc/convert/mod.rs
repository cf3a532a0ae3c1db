//! From what the store and the domain know to what the contract says. Every word of a vocabulary is matched exhaustively, so that a
//! new one cannot be forgotten here.

mod daemon;
mod grounds;
mod lifecycle;
mod notifier;
mod package;
mod reconcile;
mod resource;
mod run;
mod schedule;
mod server;
mod step;
mod summary;
mod token;
mod transition;
mod words;

use prost_types::Timestamp as WireTime;
use settled_proto::v1;

pub(super) use daemon::{daemons, warning as daemon_warning};
pub(super) use lifecycle::{
    enrollment, enrollment_row, enrollment_status_of, execution, execution_outcome_of, lifecycle,
    lifecycle_row, task,
};
pub(super) use notifier::{delivery, delivery_state_word, event_of, notifier};
pub(super) use package::{package, package_line};
pub(super) use reconcile::reconciled;
pub(super) use resource::{resource, resource_row};
pub(super) use run::{Place, diagnostics, run, run_as_stored};
pub(super) use schedule::{
    fate_asked, missed_asked, occurrence, occurrence_row, overlap_asked, schedule, schedule_row, target_asked,
};
pub(super) use server::{server, server_row};
pub(super) use step::step;
pub(super) use token::token;
pub(super) use transition::{held, left, transition};
pub(super) use words::{freshness_of, kind_of, outcome_word, role, role_of, run_state_word, status_word};

use crate::domain::failure::Failure;
use crate::domain::resource::{Difference, Observed};
use crate::domain::time::Timestamp;
use crate::domain::waiting::Waiting;

/// A point in time.
pub(super) fn time(at: Timestamp) -> WireTime {
    let nanos = i32::try_from(at.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    WireTime { seconds: at.0.div_euclid(1_000_000), nanos }
}

/// A count that the store keeps as a signed number.
pub(super) fn count(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn failure(f: &Failure) -> v1::Failure {
    v1::Failure {
        step: f.step.clone(),
        exit_code: f.exit_code,
        message: f.message.clone(),
        last_lines: f.last_lines.clone(),
        run_id: f.run.to_string(),
        at: Some(time(f.at)),
    }
}

fn observed(o: &Observed) -> v1::Observed {
    v1::Observed {
        presence: words::presence(o.presence).into(),
        facts: o.facts.clone(),
        at: Some(time(o.at)),
        differs: o.differs.iter().map(difference).collect(),
    }
}

fn difference(d: &Difference) -> v1::Difference {
    v1::Difference { fact: d.fact.clone(), expected: d.expected.clone(), found: d.found.clone() }
}

fn waiting(w: &Waiting) -> v1::Waiting {
    v1::Waiting {
        reason: words::wait_reason(w.reason).into(),
        who: w.who.clone(),
        since: Some(time(w.since)),
        next_try: w.next_try.map(time),
    }
}
