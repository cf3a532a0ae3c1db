//! The row of a server.

use serde::{Deserialize, Serialize};

use super::{clean, corrupt, failure_from_json, failure_to_json, from_json, to_json, word};
use crate::domain::server::{Held, IdentityKind, Policy, Reach, Server, ServerStatus};
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::store::StoreError;

#[derive(Serialize, Deserialize)]
struct WindowJson {
    days: [bool; 7],
    opens: u16,
    closes: u16,
}

#[derive(Serialize, Deserialize)]
struct HeldJson {
    since: i64,
    step: String,
    processes: Vec<String>,
}

fn windows_to_json(windows: &[Window]) -> String {
    let json = |w: &Window| WindowJson { days: w.days, opens: w.opens, closes: w.closes };
    to_json(&windows.iter().map(json).collect::<Vec<_>>())
}

fn windows_from_json(text: &str) -> Result<Vec<Window>, StoreError> {
    let json: Vec<WindowJson> = from_json("windows", text)?;
    Ok(json.into_iter().map(|w| Window { days: w.days, opens: w.opens, closes: w.closes }).collect())
}

fn held_to_json(held: &Held) -> String {
    let processes = held.processes.iter().map(|process| clean(process)).collect();
    to_json(&HeldJson { since: held.since.0, step: held.step.to_string(), processes })
}

fn held_from_json(text: &str) -> Result<Held, StoreError> {
    let json: HeldJson = from_json("what holds a lane", text)?;
    let step = json.step.parse().map_err(|_| corrupt("step id", &json.step))?;
    Ok(Held { since: Timestamp(json.since), step, processes: json.processes })
}

/// A server as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ServerRow {
    pub id: String,
    pub name: String,
    pub host: String,
    pub port: i64,
    pub login: String,
    pub host_key: String,
    pub identity: String,
    pub via: Option<String>,
    pub labels: String,
    pub time_zone: String,
    pub windows: String,
    pub repair_dpkg: bool,
    pub machine_id: Option<String>,
    pub status: String,
    pub reach: String,
    pub reach_detail: String,
    pub held: Option<String>,
    pub last_seen: Option<i64>,
    pub last_error: Option<String>,
    pub facts: String,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub seq: i64,
}

impl From<&Server> for ServerRow {
    fn from(s: &Server) -> Self {
        Self {
            id: s.id.to_string(),
            name: s.name.clone(),
            host: s.host.clone(),
            port: i64::from(s.port),
            login: s.user.clone(),
            host_key: s.host_key.clone(),
            identity: s.identity.to_string(),
            via: s.via.clone(),
            labels: to_json(&s.labels),
            time_zone: s.policy.time_zone.clone(),
            windows: windows_to_json(&s.policy.windows),
            repair_dpkg: s.policy.repair_dpkg,
            machine_id: s.facts.get("machine_id").map(|id| clean(id)),
            status: s.status.to_string(),
            reach: s.reach.to_string(),
            reach_detail: clean(&s.reach_detail),
            held: s.held.as_ref().map(held_to_json),
            last_seen: s.last_seen.map(|t| t.0),
            last_error: s.last_error.as_ref().map(failure_to_json),
            facts: to_json(&s.facts),
            created_at: s.created_at.0,
            updated_at: s.updated_at.0,
            version: s.version,
            seq: s.seq,
        }
    }
}

impl TryFrom<ServerRow> for Server {
    type Error = StoreError;

    fn try_from(row: ServerRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("server id", &row.id))?,
            name: row.name,
            host: row.host,
            port: u16::try_from(row.port).map_err(|_| corrupt("port", &row.port.to_string()))?,
            user: row.login,
            host_key: row.host_key,
            identity: word("identity", &row.identity, IdentityKind::parse)?,
            via: row.via,
            labels: from_json("labels", &row.labels)?,
            policy: Policy {
                time_zone: row.time_zone,
                windows: windows_from_json(&row.windows)?,
                repair_dpkg: row.repair_dpkg,
            },
            status: word("server status", &row.status, ServerStatus::parse)?,
            reach: word("reach", &row.reach, Reach::parse)?,
            reach_detail: row.reach_detail,
            held: row.held.as_deref().map(held_from_json).transpose()?,
            last_seen: row.last_seen.map(Timestamp),
            last_error: failure_from_json(row.last_error.as_ref())?,
            facts: from_json("facts", &row.facts)?,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
            seq: row.seq,
        })
    }
}
