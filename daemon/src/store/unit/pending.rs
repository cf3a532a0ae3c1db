//! Rows that a unit has yet to write: gathered from all its commands, and written as sets.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::Audited;
use crate::domain::time::Timestamp;
use crate::store::rows::{ResourceRow, RunRow, StepRow, TransitionRow};
use crate::store::sets::Sets;
use crate::store::{Db, StoreError};

/// A changed step, and what its writer saw.
pub(super) struct StepUpdate {
    pub(super) seen_version: i64,
    pub(super) seen_bytes: i64,
    pub(super) row: StepRow,
}

/// An answer to keep.
pub(super) struct KeptRequest {
    pub(super) principal: String,
    pub(super) method: String,
    pub(super) id: String,
    pub(super) digest: String,
    pub(super) answer: String,
}

/// A piece of a step's output.
pub(super) struct Piece {
    pub(super) step: String,
    pub(super) pos: i64,
    pub(super) data: Vec<u8>,
}

/// Rows to write, of the kinds that come in numbers. No object is in here twice.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) resource_inserts: Vec<ResourceRow>,
    /// With the version that was seen.
    pub(super) resource_updates: Vec<(i64, ResourceRow)>,
    pub(super) run_inserts: Vec<RunRow>,
    pub(super) run_updates: Vec<RunRow>,
    pub(super) step_inserts: Vec<StepRow>,
    pub(super) step_updates: Vec<StepUpdate>,
    pub(super) pieces: Vec<Piece>,
    pub(super) requests: Vec<KeptRequest>,
    objects: HashSet<String>,
}

static INSERT_RESOURCES: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "server_id",
        "server_name",
        "package",
        "name",
        "status",
        "desired",
        "former",
        "applied",
        "applied_digest",
        "applied_known",
        "applied_by",
        "secrets",
        "outputs",
        "ours",
        "last_error",
        "observed",
        "open_run",
        "created_at",
        "updated_at",
        "version",
        "seq",
    ];
    Sets::insert("resource", &columns, "ON CONFLICT (server_id, package, name) DO NOTHING")
});

static UPDATE_RESOURCES: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "seen",
        "status",
        "desired",
        "former",
        "applied",
        "applied_digest",
        "applied_known",
        "applied_by",
        "secrets",
        "outputs",
        "ours",
        "last_error",
        "observed",
        "open_run",
        "updated_at",
        "version",
        "seq",
    ];
    Sets::update("resource", &columns, 2, "resource.id = v.id AND resource.version = v.seen")
});

static INSERT_RUNS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "queue_no",
        "server_id",
        "server_name",
        "resource_id",
        "resource_name",
        "package",
        "digest",
        "earlier",
        "in_progress",
        "success",
        "operation",
        "exclusive",
        "attempts_max",
        "principal",
        "retry_of",
        "accepted_at",
        "queue_until",
        "kill_grace",
        "settle_margin",
        "wait_limit",
        "stale_queued",
        "stale_running",
        "progress_at",
        "priority",
        "cancel_requested",
        "payload",
        "parameters",
        "outputs",
        "state",
        "attempt",
        "step",
        "try_no",
        "reconciled",
        "stale_at",
        "settles_by",
        "epoch",
        "version",
        "seq",
    ];
    Sets::insert("run", &columns, "")
});

static UPDATE_RUNS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "seen",
        "progress_at",
        "cancel_requested",
        "payload",
        "outputs",
        "state",
        "started_at",
        "attempt",
        "step",
        "try_no",
        "deadline",
        "between_since",
        "busy_since",
        "wait_reason",
        "wait_who",
        "wait_since",
        "wait_next_try",
        "outcome",
        "reason",
        "evidence",
        "reconciled",
        "failure",
        "grounds",
        "completed_at",
        "stale_at",
        "settles_by",
        "epoch",
        "version",
        "seq",
    ];
    let guard =
        "run.id = v.id AND run.version = v.seen AND run.state <> 'completed' AND run.epoch <= v.epoch";
    Sets::update("run", &columns, 2, guard)
});

/// Enrollments that wait for a run learn from its end.
static MARK_OVER: LazyLock<Sets> =
    LazyLock::new(|| Sets::select("UPDATE enrollment SET run_over = TRUE WHERE", &["run_id"], ""));

static INSERT_STEPS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "run_id",
        "server_id",
        "resource_id",
        "no",
        "title",
        "repair",
        "kill_grace",
        "output_bytes_max",
        "state",
        "exit_code",
        "why",
        "started_at",
        "ended_at",
        "output_bytes",
        "truncated",
        "version",
        "seq",
    ];
    Sets::insert("step", &columns, "")
});

static UPDATE_STEPS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "id",
        "seen",
        "seen_bytes",
        "state",
        "exit_code",
        "why",
        "ended_at",
        "output_bytes",
        "truncated",
        "late",
        "version",
        "seq",
    ];
    let guard = "step.id = v.id AND step.version = v.seen AND step.output_bytes = v.seen_bytes";
    Sets::update("step", &columns, 3, guard)
});

static INSERT_PIECES: LazyLock<Sets> =
    LazyLock::new(|| Sets::insert("output", &["step_id", "pos", "data"], ""));

static INSERT_REQUESTS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = ["principal", "method", "request_id", "digest", "answer", "at"];
    Sets::insert("request", &columns, "ON CONFLICT (principal, method, request_id) DO NOTHING")
});

static INSERT_TRANSITIONS: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "seq",
        "at",
        "kind",
        "change",
        "object_id",
        "server_id",
        "resource_id",
        "run_id",
        "old_labels",
        "object",
    ];
    Sets::insert("transition", &columns, "")
});

static INSERT_AUDIT: LazyLock<Sets> = LazyLock::new(|| {
    let columns = [
        "seq",
        "at",
        "principal",
        "peer",
        "verb",
        "method",
        "object",
        "server",
        "detail",
        "result",
        "code",
        "changes",
        "run_id",
        "transitions_from",
        "transitions_to",
    ];
    Sets::insert("audit", &columns, "")
});

impl Pending {
    /// Notes that an object will be written; false when it is in here already, and what is here must be written before.
    pub(super) fn takes(&mut self, id: &str) -> bool {
        self.objects.insert(id.to_owned())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Writes everything. What refers to a row comes after it, and what makes room for a row before it.
    pub(super) async fn write(mut self, db: &mut Db<'_>, now: Timestamp) -> Result<(), StoreError> {
        self.write_resources(db).await?;
        self.write_runs(db).await?;
        self.write_steps(db).await?;
        let done = execute_all!(db, INSERT_REQUESTS, &self.requests, k =>
            &k.principal, &k.method, &k.id, &k.digest, &k.answer, now.0);
        all_written(done, self.requests.len(), || StoreError::Conflict)
    }

    async fn write_resources(&mut self, db: &mut Db<'_>) -> Result<(), StoreError> {
        let done = execute_all!(db, UPDATE_RESOURCES, &self.resource_updates, (seen, r) =>
            &r.id, seen, &r.status, &r.desired, &r.former, &r.applied, &r.applied_digest, r.applied_known, &r.applied_by, &r.secrets, &r.outputs, r.ours, &r.last_error,
            &r.observed, &r.open_run, r.updated_at, r.version, r.seq);
        all_written(done, self.resource_updates.len(), || StoreError::Conflict)?;
        let done = execute_all!(db, INSERT_RESOURCES, &self.resource_inserts, r =>
            &r.id, &r.server_id, &r.server_name, &r.package, &r.name, &r.status, &r.desired, &r.former, &r.applied, &r.applied_digest,
            r.applied_known, &r.applied_by, &r.secrets, &r.outputs, r.ours, &r.last_error, &r.observed, &r.open_run, r.created_at, r.updated_at, r.version, r.seq);
        all_written(done, self.resource_inserts.len(), || StoreError::Duplicate("name".to_owned()))
    }

    async fn write_runs(&mut self, db: &mut Db<'_>) -> Result<(), StoreError> {
        let done = execute_all!(db, UPDATE_RUNS, &self.run_updates, r =>
            &r.id, r.version - 1, r.progress_at, r.cancel_requested, r.payload, &r.outputs, &r.state, r.started_at, r.attempt, r.step, r.try_no,
            r.deadline, r.between_since, r.busy_since, &r.wait_reason, &r.wait_who, r.wait_since, r.wait_next_try, &r.outcome, &r.reason,
            &r.evidence, r.reconciled, &r.failure, &r.grounds, r.completed_at, r.stale_at, r.settles_by, r.epoch, r.version, r.seq);
        all_written(done, self.run_updates.len(), || StoreError::Conflict)?;
        let over = self.run_updates.iter().filter(|r| r.completed_at.is_some()).collect::<Vec<_>>();
        execute_all!(db, MARK_OVER, &over, r => &r.id);
        // A run's number in the queue is that of its first transition.
        execute_all!(db, INSERT_RUNS, &self.run_inserts, r =>
            &r.id, r.seq, &r.server_id, &r.server_name, &r.resource_id, &r.resource_name, &r.package, &r.digest, &r.earlier,
            &r.in_progress, &r.success, &r.operation, r.exclusive, r.attempts_max, &r.principal, &r.retry_of, r.accepted_at,
            r.queue_until, r.kill_grace, r.settle_margin, r.wait_limit, r.stale_queued, r.stale_running, r.progress_at, r.priority, r.cancel_requested, r.payload, &r.parameters,
            &r.outputs, &r.state, r.attempt, r.step, r.try_no, r.reconciled, r.stale_at, r.settles_by,
            r.epoch, r.version, r.seq);
        Ok(())
    }

    async fn write_steps(&mut self, db: &mut Db<'_>) -> Result<(), StoreError> {
        let done = execute_all!(db, UPDATE_STEPS, &self.step_updates, s =>
            &s.row.id, s.seen_version, s.seen_bytes, &s.row.state, s.row.exit_code, &s.row.why, s.row.ended_at,
            s.row.output_bytes, s.row.truncated, &s.row.late, s.row.version, s.row.seq);
        all_written(done, self.step_updates.len(), || StoreError::Conflict)?;
        execute_all!(db, INSERT_STEPS, &self.step_inserts, s =>
            &s.id, &s.run_id, &s.server_id, &s.resource_id, s.no, &s.title, s.repair, s.kill_grace,
            s.output_bytes_max, &s.state, s.exit_code, &s.why, s.started_at, s.ended_at, s.output_bytes, s.truncated, s.version, s.seq);
        execute_all!(db, INSERT_PIECES, &self.pieces, p => &p.step, p.pos, &p.data);
        Ok(())
    }
}

fn all_written(done: u64, rows: usize, refusal: impl FnOnce() -> StoreError) -> Result<(), StoreError> {
    if done == rows as u64 { Ok(()) } else { Err(refusal()) }
}

/// Writes transitions.
pub(super) async fn write_transitions(db: &mut Db<'_>, rows: &[TransitionRow]) -> Result<(), StoreError> {
    execute_all!(db, INSERT_TRANSITIONS, rows, r =>
        r.seq, r.at, &r.kind, &r.change, &r.object_id, &r.server_id, &r.resource_id, &r.run_id, &r.old_labels, &r.object);
    Ok(())
}

/// Writes rows of the audit.
pub(super) async fn write_audit(db: &mut Db<'_>, rows: &[Audited], now: Timestamp) -> Result<(), StoreError> {
    execute_all!(db, INSERT_AUDIT, rows, a =>
        a.seq, now.0, &a.row.principal, &a.row.peer, a.row.verb, &a.row.method, &a.row.object, &a.row.server, &a.row.detail,
        a.row.result.words().0, a.row.result.words().1, &a.row.changes, &a.row.run_id, a.transitions.0, a.transitions.1);
    Ok(())
}
