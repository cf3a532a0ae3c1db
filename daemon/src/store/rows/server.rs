//! The row of a server.

use serde::{Deserialize, Serialize};

use super::{clean, corrupt, failure_from_json, failure_to_json, from_json, to_json, word};
use crate::domain::server::{IdentityKind, Reach, Server, ServerStatus};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

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
    pub machine_id: Option<String>,
    pub status: String,
    pub reach: String,
    pub reach_detail: String,
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
            machine_id: s.facts.get("machine_id").map(|id| clean(id)),
            status: s.status.to_string(),
            reach: s.reach.to_string(),
            reach_detail: clean(&s.reach_detail),
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
            status: word("server status", &row.status, ServerStatus::parse)?,
            reach: word("reach", &row.reach, Reach::parse)?,
            reach_detail: row.reach_detail,
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
