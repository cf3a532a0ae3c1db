//! What the reconciler found and did.

use settled_proto::v1;

use super::{time, words};
use crate::engine::reconcile::Report;

/// A report of the reconciler.
pub(in crate::grpc) fn reconciled(report: &Report) -> v1::ReconcileResponse {
    let settled = report.settled.iter().map(|run| v1::SettledRun {
        run_id: run.id.to_string(),
        server: run.server.clone(),
        reason: run.reason.map_or(v1::Reason::Unspecified, words::reason).into(),
        settles_by: Some(time(run.due)),
        settled_at: Some(time(run.at)),
    });
    let lane = |lane: &crate::store::lanes::DeadLane| v1::ReleasedLane {
        server: lane.server.clone(),
        owner: lane.owner.clone(),
    };
    let stale = report.likely_stale.iter().map(|run| v1::StaleRun {
        run_id: run.id.to_string(),
        server: run.server.clone(),
        progress_at: Some(time(run.progress_at)),
        settles_by: run.settles_by.map(time),
    });
    v1::ReconcileResponse {
        examined: report.examined,
        settled: settled.collect(),
        released: report.released.iter().map(lane).collect(),
        likely_stale: stale.collect(),
        grace_until: report.grace_until.map(time),
    }
}
