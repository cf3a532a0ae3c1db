//! The row of a step: one try, as the store knows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::grounds::{late_from_json, late_to_json};
use super::{clean, corrupt, word};
use crate::domain::grounds::Late;
use crate::domain::id::{ResourceId, ServerId};
use crate::domain::step::{StepId, StepState};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// A step as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct StepRow {
    pub id: String,
    pub run_id: String,
    pub server_id: String,
    pub resource_id: Option<String>,
    pub no: i64,
    pub title: String,
    pub repair: bool,
    pub kill_grace: i64,
    pub output_bytes_max: i64,
    pub state: String,
    pub exit_code: Option<i64>,
    pub why: String,
    pub started_at: i64,
    pub ended_at: Option<i64>,
    pub output_bytes: i64,
    pub truncated: bool,
    pub late: Option<String>,
    pub version: i64,
    pub seq: i64,
}

/// One try of a step, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRecord {
    /// Its name.
    pub id: StepId,
    /// Its server.
    pub server: ServerId,
    /// Its resource.
    pub resource: Option<ResourceId>,
    /// Its place among all tries of the run, from 1.
    pub no: i64,
    /// The milestone that people see.
    pub title: String,
    /// It repairs an interrupted dpkg, before the step that was refused for it is tried again.
    pub repair: bool,
    /// Its time between TERM and KILL. It is sent with this and with the next, however often it is sent.
    pub kill_grace: Duration,
    /// Output kept of it.
    pub output_bytes_max: u64,
    /// Where it stands.
    pub state: StepState,
    /// Exit code, when it ended with one.
    pub exit_code: Option<i32>,
    /// Why it ended otherwise.
    pub why: String,
    /// When the intent to start it was stored.
    pub started_at: Timestamp,
    /// When its end was stored.
    pub ended_at: Option<Timestamp>,
    /// Bytes of output stored.
    pub output_bytes: u64,
    /// Output was longer than the limit.
    pub truncated: bool,
    /// What its server has shown of it after its run was settled without proof.
    pub late: Option<Late>,
    /// Rises with every change; the store's guard.
    pub version: i64,
    /// Sequence number of its last transition.
    pub seq: i64,
}

impl From<&StepRecord> for StepRow {
    fn from(s: &StepRecord) -> Self {
        Self {
            id: s.id.to_string(),
            run_id: s.id.run.to_string(),
            server_id: s.server.to_string(),
            resource_id: s.resource.map(|id| id.to_string()),
            no: s.no,
            title: clean(&s.title),
            repair: s.repair,
            kill_grace: i64::try_from(s.kill_grace.as_micros()).unwrap_or(i64::MAX),
            output_bytes_max: i64::try_from(s.output_bytes_max).unwrap_or(i64::MAX),
            state: s.state.to_string(),
            exit_code: s.exit_code.map(i64::from),
            why: clean(&s.why),
            started_at: s.started_at.0,
            ended_at: s.ended_at.map(|t| t.0),
            output_bytes: i64::try_from(s.output_bytes).unwrap_or(i64::MAX),
            truncated: s.truncated,
            late: s.late.as_ref().map(late_to_json),
            version: s.version,
            seq: s.seq,
        }
    }
}

fn size(what: &'static str, stored: i64) -> Result<u64, StoreError> {
    u64::try_from(stored).map_err(|_| corrupt(what, &stored.to_string()))
}

impl TryFrom<StepRow> for StepRecord {
    type Error = StoreError;

    fn try_from(row: StepRow) -> Result<Self, StoreError> {
        let resource = match &row.resource_id {
            Some(id) => Some(id.parse().map_err(|_| corrupt("resource id", id))?),
            None => None,
        };
        let exit_code = match row.exit_code {
            Some(code) => Some(i32::try_from(code).map_err(|_| corrupt("exit code", &code.to_string()))?),
            None => None,
        };
        let late = row.late.as_ref().map(|text| late_from_json(text)).transpose()?;
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("step id", &row.id))?,
            server: row.server_id.parse().map_err(|_| corrupt("server id", &row.server_id))?,
            resource,
            no: row.no,
            title: row.title,
            repair: row.repair,
            kill_grace: Duration::from_micros(size("kill grace", row.kill_grace)?),
            output_bytes_max: size("limit of output", row.output_bytes_max)?,
            state: word("step state", &row.state, StepState::parse)?,
            exit_code,
            why: row.why,
            started_at: Timestamp(row.started_at),
            ended_at: row.ended_at.map(Timestamp),
            output_bytes: size("output length", row.output_bytes)?,
            truncated: row.truncated,
            late,
            version: row.version,
            seq: row.seq,
        })
    }
}
