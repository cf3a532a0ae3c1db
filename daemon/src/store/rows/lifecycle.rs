//! The row of a lifecycle.

use serde::{Deserialize, Serialize};

use super::{corrupt, word};
use crate::domain::lifecycle::{Activation, Lifecycle};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// A lifecycle as stored.
#[derive(Debug, Clone, Serialize, Deserialize, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct LifecycleRow {
    pub id: String,
    pub code: String,
    pub name: String,
    pub active: bool,
    pub starts_at: Option<i64>,
    pub ends_at: Option<i64>,
    pub activation: String,
    pub revision: i64,
    pub run_at: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    pub version: i64,
}

impl From<&Lifecycle> for LifecycleRow {
    fn from(l: &Lifecycle) -> Self {
        Self {
            id: l.id.to_string(),
            code: l.code.clone(),
            name: l.name.clone(),
            active: l.active,
            starts_at: l.starts_at.map(|at| at.0),
            ends_at: l.ends_at.map(|at| at.0),
            activation: l.activation.to_string(),
            revision: l.revision.into(),
            run_at: l.run_at.map(|at| at.0),
            created_at: l.created_at.0,
            updated_at: l.updated_at.0,
            version: l.version,
        }
    }
}

impl TryFrom<LifecycleRow> for Lifecycle {
    type Error = StoreError;

    fn try_from(row: LifecycleRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("lifecycle id", &row.id))?,
            code: row.code,
            name: row.name,
            active: row.active,
            starts_at: row.starts_at.map(Timestamp),
            ends_at: row.ends_at.map(Timestamp),
            activation: word("activation", &row.activation, Activation::parse)?,
            revision: u32::try_from(row.revision)
                .map_err(|_| corrupt("revision", &row.revision.to_string()))?,
            run_at: row.run_at.map(Timestamp),
            created_at: Timestamp(row.created_at),
            updated_at: Timestamp(row.updated_at),
            version: row.version,
        })
    }
}
