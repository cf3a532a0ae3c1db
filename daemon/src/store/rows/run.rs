//! The row of a run: its state machine laid flat.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grounds::{grounds_from_json, grounds_to_json};
use super::{clean, corrupt, failure_from_json, failure_to_json, from_json, to_json, word};
use crate::domain::freshness::Thresholds;
use crate::domain::grounds::Grounds;
use crate::domain::operation::Operation;
use crate::domain::resource::{Declared, ResourceStatus};
use crate::domain::run::{Phase, Position, Progress, Run, RunState, Subject};
use crate::domain::time::Timestamp;
use crate::domain::turn::Priority;
use crate::domain::verdict::{Evidence, Outcome, Reason, Verdict};
use crate::domain::waiting::{WaitReason, Waiting};
use crate::store::StoreError;

/// A run as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
#[expect(clippy::struct_excessive_bools, reason = "the columns are what they are")]
pub struct RunRow {
    pub id: String,
    pub server_id: String,
    pub server_name: String,
    pub resource_id: Option<String>,
    pub resource_name: Option<String>,
    pub package: Option<String>,
    pub digest: Option<String>,
    pub earlier: Option<String>,
    pub in_progress: Option<String>,
    pub success: Option<String>,
    pub operation: String,
    pub exclusive: bool,
    pub attempts_max: i64,
    pub principal: String,
    pub retry_of: Option<String>,
    pub accepted_at: i64,
    pub queue_until: i64,
    pub kill_grace: i64,
    pub settle_margin: i64,
    pub wait_limit: i64,
    pub stale_queued: i64,
    pub stale_running: i64,
    pub progress_at: i64,
    pub priority: i64,
    pub cancel_requested: bool,
    pub payload: bool,
    pub parameters: String,
    pub outputs: String,
    pub state: String,
    pub started_at: Option<i64>,
    pub attempt: i64,
    pub step: i64,
    pub try_no: i64,
    pub deadline: Option<i64>,
    pub between_since: Option<i64>,
    pub busy_since: Option<i64>,
    pub wait_reason: Option<String>,
    pub wait_who: Option<String>,
    pub wait_since: Option<i64>,
    pub wait_next_try: Option<i64>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub evidence: Option<String>,
    pub reconciled: bool,
    pub failure: Option<String>,
    pub grounds: Option<String>,
    pub completed_at: Option<i64>,
    pub stale_at: Option<i64>,
    pub settles_by: Option<i64>,
    pub epoch: i64,
    pub version: i64,
    pub seq: i64,
}

impl RunRow {
    /// The row of a run; `settles_by` and `stale_at` are what the domain says.
    pub fn new(run: &Run) -> Self {
        let mut row = Self::identity(run);
        row.settles_by = run.settles_by().map(|t| t.0);
        row.stale_at = run.stale_at().map(|t| t.0);
        row.grounds = run.grounds.as_ref().map(grounds_to_json);
        row.set_position(run.position());
        row.set_waiting(run.waiting());
        match &run.state {
            RunState::Queued { .. } => {}
            RunState::Running(progress) => {
                row.started_at = Some(progress.started_at.0);
                row.busy_since = progress.busy_since.map(|t| t.0);
                match progress.phase {
                    Phase::Stepping { deadline } => row.deadline = Some(deadline.0),
                    Phase::Between { since } => row.between_since = Some(since.0),
                }
            }
            RunState::Completed { started_at, verdict, .. } => {
                row.started_at = started_at.map(|t| t.0);
                row.set_verdict(verdict);
            }
        }
        row
    }

    fn identity(run: &Run) -> Self {
        let (resource_id, resource_name, package, digest, earlier, declared) = match &run.subject {
            Subject::Server => (None, None, None, None, None, None),
            Subject::Resource { id, name, package, digest, earlier, declared } => (
                Some(id.to_string()),
                Some(name.clone()),
                Some(package.clone()),
                Some(digest.clone()),
                Some(earlier.to_string()),
                Some(declared),
            ),
        };
        Self {
            id: run.id.to_string(),
            server_id: run.server.to_string(),
            server_name: run.server_name.clone(),
            resource_id,
            resource_name,
            package,
            digest,
            earlier,
            in_progress: declared.map(|d| d.in_progress.to_string()),
            success: declared.map(|d| d.success.to_string()),
            operation: run.operation.to_string(),
            exclusive: run.exclusive,
            attempts_max: i64::from(run.attempts_max),
            principal: run.principal.clone(),
            retry_of: run.retry_of.map(|id| id.to_string()),
            accepted_at: run.accepted_at.0,
            queue_until: run.queue_until.0,
            kill_grace: micros(run.kill_grace),
            settle_margin: micros(run.settle_margin),
            wait_limit: micros(run.wait_limit),
            stale_queued: micros(run.stale.queued),
            stale_running: micros(run.stale.running),
            progress_at: run.progress_at.0,
            priority: run.priority.rank(),
            cancel_requested: run.cancel_requested,
            payload: run.payload,
            parameters: to_json(&run.parameters),
            outputs: to_json(&run.outputs),
            state: run.state_word().to_owned(),
            started_at: None,
            attempt: 0,
            step: 0,
            try_no: 0,
            deadline: None,
            between_since: None,
            busy_since: None,
            wait_reason: None,
            wait_who: None,
            wait_since: None,
            wait_next_try: None,
            outcome: None,
            reason: None,
            evidence: None,
            reconciled: false,
            failure: None,
            grounds: None,
            completed_at: None,
            stale_at: None,
            settles_by: None,
            epoch: run.epoch,
            version: run.version,
            seq: run.seq,
        }
    }

    fn set_position(&mut self, p: Position) {
        (self.attempt, self.step, self.try_no) =
            (i64::from(p.attempt), i64::from(p.step), i64::from(p.try_no));
    }

    fn set_waiting(&mut self, waiting: Option<&Waiting>) {
        let Some(w) = waiting else { return };
        self.wait_reason = Some(w.reason.to_string());
        self.wait_who = Some(clean(&w.who));
        self.wait_since = Some(w.since.0);
        self.wait_next_try = w.next_try.map(|t| t.0);
    }

    fn set_verdict(&mut self, v: &Verdict) {
        self.outcome = Some(v.outcome.to_string());
        self.reason = v.reason.map(|r| r.to_string());
        self.evidence = Some(v.evidence.to_string());
        self.reconciled = v.reconciled;
        self.failure = v.failure.as_ref().map(failure_to_json);
        self.completed_at = Some(v.at.0);
    }

    fn waiting(&self) -> Result<Option<Waiting>, StoreError> {
        let (Some(reason), Some(since)) = (&self.wait_reason, self.wait_since) else { return Ok(None) };
        Ok(Some(Waiting {
            reason: word("reason to wait", reason, WaitReason::parse)?,
            who: self.wait_who.clone().unwrap_or_default(),
            since: Timestamp(since),
            next_try: self.wait_next_try.map(Timestamp),
        }))
    }

    fn position(&self) -> Result<Position, StoreError> {
        let number = |n: i64| u32::try_from(n).map_err(|_| corrupt("position", &n.to_string()));
        Ok(Position {
            attempt: number(self.attempt)?,
            step: number(self.step)?,
            try_no: number(self.try_no)?,
        })
    }

    fn run_state(&self) -> Result<RunState, StoreError> {
        let started_at = self.started_at.map(Timestamp);
        match (self.state.as_str(), started_at) {
            ("queued", _) => Ok(RunState::Queued { waiting: self.waiting()? }),
            ("running", Some(started_at)) => {
                let phase = match (self.deadline, self.between_since) {
                    (Some(deadline), None) => Phase::Stepping { deadline: Timestamp(deadline) },
                    (None, Some(since)) => Phase::Between { since: Timestamp(since) },
                    _ => return Err(corrupt("phase of run", &self.id)),
                };
                let (position, waiting) = (self.position()?, self.waiting()?);
                let busy_since = self.busy_since.map(Timestamp);
                Ok(RunState::Running(Progress { started_at, position, phase, busy_since, waiting }))
            }
            ("completed", _) => {
                Ok(RunState::Completed { started_at, position: self.position()?, verdict: self.verdict()? })
            }
            _ => Err(corrupt("run state", &self.state)),
        }
    }

    fn verdict(&self) -> Result<Verdict, StoreError> {
        let missing = || corrupt("verdict of run", &self.id);
        let reason = match &self.reason {
            Some(reason) => Some(word("reason", reason, Reason::parse)?),
            None => None,
        };
        Ok(Verdict {
            outcome: word("outcome", self.outcome.as_ref().ok_or_else(missing)?, Outcome::parse)?,
            reason,
            evidence: word("evidence", self.evidence.as_ref().ok_or_else(missing)?, Evidence::parse)?,
            reconciled: self.reconciled,
            failure: failure_from_json(self.failure.as_ref())?,
            at: Timestamp(self.completed_at.ok_or_else(missing)?),
        })
    }

    fn thresholds(&self) -> Result<Thresholds, StoreError> {
        let of_run = |n| span("threshold", n);
        Ok(Thresholds { queued: of_run(self.stale_queued)?, running: of_run(self.stale_running)? })
    }

    fn grounds(&self) -> Result<Option<Grounds>, StoreError> {
        self.grounds.as_ref().map(|text| grounds_from_json(text)).transpose()
    }

    fn subject(&self) -> Result<Subject, StoreError> {
        let Some(id) = &self.resource_id else { return Ok(Subject::Server) };
        let missing = || corrupt("subject of run", &self.id);
        let status = |text: &Option<String>| {
            let text = text.as_ref().ok_or_else(missing)?;
            word("resource status", text, ResourceStatus::parse)
        };
        Ok(Subject::Resource {
            id: id.parse().map_err(|_| corrupt("resource id", id))?,
            name: self.resource_name.clone().ok_or_else(missing)?,
            package: self.package.clone().ok_or_else(missing)?,
            digest: self.digest.clone().ok_or_else(missing)?,
            earlier: status(&self.earlier)?,
            declared: Declared { in_progress: status(&self.in_progress)?, success: status(&self.success)? },
        })
    }
}

fn span(what: &str, micros: i64) -> Result<Duration, StoreError> {
    let micros = u64::try_from(micros).map_err(|_| corrupt(what, &micros.to_string()))?;
    Ok(Duration::from_micros(micros))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

impl TryFrom<RunRow> for Run {
    type Error = StoreError;

    fn try_from(row: RunRow) -> Result<Self, StoreError> {
        let retry_of = match &row.retry_of {
            Some(id) => Some(id.parse().map_err(|_| corrupt("run id", id))?),
            None => None,
        };
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("run id", &row.id))?,
            server: row.server_id.parse().map_err(|_| corrupt("server id", &row.server_id))?,
            subject: row.subject()?,
            operation: Operation::from_word(&row.operation),
            exclusive: row.exclusive,
            attempts_max: u32::try_from(row.attempts_max)
                .map_err(|_| corrupt("attempts", &row.attempts_max.to_string()))?,
            retry_of,
            accepted_at: Timestamp(row.accepted_at),
            queue_until: Timestamp(row.queue_until),
            kill_grace: span("kill grace", row.kill_grace)?,
            settle_margin: span("settle margin", row.settle_margin)?,
            wait_limit: span("wait limit", row.wait_limit)?,
            stale: row.thresholds()?,
            progress_at: Timestamp(row.progress_at),
            priority: Priority::from_rank(row.priority)
                .ok_or_else(|| corrupt("priority", &row.priority.to_string()))?,
            cancel_requested: row.cancel_requested,
            payload: row.payload,
            parameters: from_json("parameters of run", &row.parameters)?,
            outputs: from_json("outputs", &row.outputs)?,
            state: row.run_state()?,
            grounds: row.grounds()?,
            epoch: row.epoch,
            version: row.version,
            seq: row.seq,
            server_name: row.server_name,
            principal: row.principal,
        })
    }
}
