//! The rows of an enrollment and of its log.

use serde::{Deserialize, Serialize};

use super::{clean, corrupt};
use crate::domain::enrollment::{Enrollment, State, Subject, Work};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// An enrollment as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct EnrollmentRow {
    pub id: String,
    pub lifecycle_id: String,
    pub code: String,
    pub subject_type: String,
    pub subject_id: String,
    pub server_id: Option<String>,
    pub resource_id: Option<String>,
    pub principal: String,
    pub revision: i64,
    pub stage: String,
    pub attempt: i64,
    pub deferrals: i64,
    pub waits_since: Option<i64>,
    #[serde(default)]
    pub closed_since: Option<i64>,
    pub waits_for: String,
    pub payload: String,
    pub status: String,
    pub due: Option<i64>,
    pub work: Option<String>,
    pub run_id: Option<String>,
    pub queue: Option<String>,
    pub worker: Option<String>,
    #[serde(default)]
    pub taken_by: Option<String>,
    pub until: Option<i64>,
    pub ended_at: Option<i64>,
    pub last_error: String,
    pub work_no: i64,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub seq: i64,
}

/// A line of the log as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ExecutionRow {
    pub seq: i64,
    pub at: i64,
    pub enrollment_id: String,
    pub lifecycle_id: String,
    pub code: String,
    pub subject_type: String,
    pub subject_id: String,
    pub revision: i64,
    pub stage: String,
    pub attempt: i64,
    pub deferrals: i64,
    pub outcome: String,
    pub payload_before: String,
    pub payload_after: String,
    pub error: String,
    pub run_id: Option<String>,
    pub who: String,
}

/// The word for what goes on.
const fn word_of(work: &Work) -> &'static str {
    match work {
        Work::Look { .. } => "look",
        Work::Run { .. } => "run",
        Work::Approval { .. } => "approval",
        Work::Offer { .. } => "offer",
        Work::Task { .. } => "task",
    }
}

impl From<&Enrollment> for EnrollmentRow {
    fn from(e: &Enrollment) -> Self {
        let queue = match e.work() {
            Some(Work::Offer { queue, .. } | Work::Task { queue, .. }) => Some(queue.clone()),
            _ => None,
        };
        let (worker, taken_by) = match e.work() {
            Some(Work::Task { worker, taken_by, .. }) => (Some(worker.clone()), Some(taken_by.clone())),
            _ => (None, None),
        };
        let due = match &e.state {
            State::Waiting { due } | State::Working { due, .. } => Some(due.0),
            State::Completed { .. } | State::Failed { .. } => None,
        };
        let ended_at = match &e.state {
            State::Completed { at } | State::Failed { at } => Some(at.0),
            State::Waiting { .. } | State::Working { .. } => None,
        };
        Self {
            id: e.id.to_string(),
            lifecycle_id: e.lifecycle.to_string(),
            code: e.code.clone(),
            subject_type: e.subject.kind.clone(),
            subject_id: e.subject.id.clone(),
            server_id: e.subject.server.map(|id| id.to_string()),
            resource_id: e.subject.resource.map(|id| id.to_string()),
            principal: e.principal.clone(),
            revision: e.revision.into(),
            stage: e.stage.clone(),
            attempt: e.attempt.into(),
            deferrals: e.deferrals.into(),
            waits_since: e.waits_since.map(|at| at.0),
            closed_since: e.closed_since.map(|at| at.0),
            waits_for: clean(&e.waits_for),
            payload: e.payload.clone(),
            status: e.status().to_string(),
            due,
            work: e.work().map(|work| word_of(work).to_owned()),
            run_id: e.work().and_then(Work::run).map(|id| id.to_string()),
            queue,
            worker,
            taken_by,
            until: e.work().and_then(Work::until).map(|at| at.0),
            ended_at,
            last_error: clean(&e.last_error),
            work_no: e.work_no.into(),
            created_at: e.created_at.0,
            updated_at: e.updated_at.0,
            version: e.version,
            seq: e.seq,
        }
    }
}

impl EnrollmentRow {
    fn work(&self, word: &str) -> Option<Work> {
        let run = || self.run_id.as_ref()?.parse().ok();
        let until = self.until.map(Timestamp);
        Some(match word {
            "look" => Work::Look { run: run()? },
            "run" => Work::Run { run: run()? },
            "approval" => Work::Approval { until: until? },
            "offer" => Work::Offer { queue: self.queue.clone()?, until: until? },
            "task" => {
                let (queue, worker, taken_by) =
                    (self.queue.clone()?, self.worker.clone()?, self.taken_by.clone()?);
                Work::Task { queue, worker, taken_by, lease_until: until? }
            }
            _ => return None,
        })
    }

    fn state(&self) -> Option<State> {
        let (due, ended) = (self.due.map(Timestamp), self.ended_at.map(Timestamp));
        Some(match (self.work.as_deref(), self.status.as_str()) {
            (Some(word), "pending" | "processing") => State::Working { work: self.work(word)?, due: due? },
            (None, "pending") => State::Waiting { due: due? },
            (None, "completed") => State::Completed { at: ended? },
            (None, "failed") => State::Failed { at: ended? },
            _ => return None,
        })
    }
}

impl TryFrom<EnrollmentRow> for Enrollment {
    type Error = StoreError;

    fn try_from(row: EnrollmentRow) -> Result<Self, StoreError> {
        let state = row.state().ok_or_else(|| corrupt("state of enrollment", &row.id))?;
        let number = |n: i64| u32::try_from(n).map_err(|_| corrupt("number", &n.to_string()));
        let server = row.server_id.as_ref().map(|id| id.parse().map_err(|_| corrupt("server id", id)));
        let resource = row.resource_id.as_ref().map(|id| id.parse().map_err(|_| corrupt("resource id", id)));
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("enrollment id", &row.id))?,
            lifecycle: row.lifecycle_id.parse().map_err(|_| corrupt("lifecycle id", &row.lifecycle_id))?,
            subject: Subject {
                server: server.transpose()?,
                resource: resource.transpose()?,
                kind: row.subject_type,
                id: row.subject_id,
            },
            code: row.code,
            principal: row.principal,
            revision: number(row.revision)?,
            stage: row.stage,
            attempt: number(row.attempt)?,
            deferrals: number(row.deferrals)?,
            waits_since: row.waits_since.map(Timestamp),
            closed_since: row.closed_since.map(Timestamp),
            waits_for: row.waits_for,
            payload: row.payload,
            state,
            last_error: row.last_error,
            work_no: number(row.work_no)?,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
            seq: row.seq,
        })
    }
}
