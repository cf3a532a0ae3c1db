//! The row of a resource.

use serde::{Deserialize, Serialize};

use super::{
    corrupt, failure_from_json, failure_to_json, from_json, observed_from_json, observed_to_json, to_json,
    word,
};
use crate::domain::operation::Operation;
use crate::domain::resource::{Applied, Former, Resource, ResourceStatus};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// A resource as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct ResourceRow {
    pub id: String,
    pub server_id: String,
    pub server_name: String,
    pub package: String,
    pub name: String,
    pub status: String,
    pub desired: String,
    pub former: Option<String>,
    pub applied: Option<String>,
    pub applied_digest: Option<String>,
    pub applied_known: bool,
    pub applied_by: Option<String>,
    pub secrets: String,
    pub outputs: String,
    pub ours: bool,
    pub last_error: Option<String>,
    pub observed: Option<String>,
    pub open_run: Option<String>,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
    pub seq: i64,
}

impl From<&Resource> for ResourceRow {
    fn from(r: &Resource) -> Self {
        Self {
            id: r.id.to_string(),
            server_id: r.server.to_string(),
            server_name: r.server_name.clone(),
            package: r.package.clone(),
            name: r.name.clone(),
            status: r.status.to_string(),
            desired: to_json(&r.desired),
            former: r.former.as_ref().map(|f| to_json(&(&f.desired, &f.secrets))),
            applied: r.applied.as_ref().map(|a| to_json(&a.params)),
            applied_digest: r.applied.as_ref().map(|a| a.digest.clone()),
            applied_known: r.applied.as_ref().is_none_or(|a| a.known),
            applied_by: r.applied.as_ref().map(|a| a.by.to_string()),
            secrets: to_json(&r.secrets),
            outputs: to_json(&r.outputs),
            ours: r.ours,
            last_error: r.last_error.as_ref().map(failure_to_json),
            observed: r.observed.as_ref().map(observed_to_json),
            open_run: r.open_run.map(|id| id.to_string()),
            created_at: r.created_at.0,
            updated_at: r.updated_at.0,
            version: r.version,
            seq: r.seq,
        }
    }
}

impl TryFrom<ResourceRow> for Resource {
    type Error = StoreError;

    fn try_from(row: ResourceRow) -> Result<Self, StoreError> {
        let applied = match (row.applied, row.applied_digest, row.applied_by) {
            (Some(params), Some(digest), Some(by)) => Some(Applied {
                params: from_json("applied parameters", &params)?,
                digest,
                known: row.applied_known,
                by: Operation::from_word(&by),
            }),
            (None, None, None) => None,
            _ => return Err(corrupt("applied parameters of resource", &row.id)),
        };
        let former = match &row.former {
            Some(text) => {
                let (desired, secrets) = from_json("former parameters", text)?;
                Some(Former { desired, secrets })
            }
            None => None,
        };
        let open_run = match row.open_run {
            Some(id) => Some(id.parse().map_err(|_| corrupt("run id", &id))?),
            None => None,
        };
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("resource id", &row.id))?,
            name: row.name,
            server: row.server_id.parse().map_err(|_| corrupt("server id", &row.server_id))?,
            server_name: row.server_name,
            package: row.package,
            status: word("resource status", &row.status, ResourceStatus::parse)?,
            desired: from_json("desired parameters", &row.desired)?,
            former,
            applied,
            secrets: from_json("secret names", &row.secrets)?,
            outputs: from_json("outputs", &row.outputs)?,
            ours: row.ours,
            last_error: failure_from_json(row.last_error.as_ref())?,
            observed: observed_from_json(row.observed.as_ref())?,
            open_run,
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
            seq: row.seq,
        })
    }
}
