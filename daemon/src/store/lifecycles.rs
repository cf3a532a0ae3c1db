//! Lifecycles and their versions.

use std::collections::BTreeMap;

use super::page::Page;
use super::rows::{LifecycleRow, from_json, to_json};
use super::{Db, StoreError, Unit};
use crate::domain::id::LifecycleId;
use crate::domain::lifecycle::Lifecycle;
use crate::domain::time::Timestamp;

/// A version of a lifecycle as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// The definition, TOML.
    pub source: String,
    /// From stages of the version before that are gone to those that take their place.
    pub mapping: BTreeMap<String, String>,
}

/// When enrollments of a lifecycle are due, as far as they wait for nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dues {
    /// Which.
    pub lifecycle: Lifecycle,
    /// The earliest of all.
    pub first: Option<Timestamp>,
    /// The earliest of those that are due later than now.
    pub next: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct DuesRow {
    #[sqlx(flatten)]
    lifecycle: LifecycleRow,
    first_due: Option<i64>,
    next_due: Option<i64>,
}

/// Enrollments that are not completed and stand alike.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// The version that they keep, or saw last.
    pub revision: i64,
    /// Their stage.
    pub stage: String,
    /// Whether it has begun.
    pub begun: bool,
    /// Whether it may wait again without having been executed: its gate is looked at, or a worker may take it.
    pub waits: bool,
    /// How many.
    pub count: i64,
}

impl Db<'_> {
    /// A lifecycle by id.
    pub async fn lifecycle(&mut self, id: LifecycleId) -> Result<Option<Lifecycle>, StoreError> {
        let sql = "SELECT * FROM lifecycle WHERE id = $1";
        let row: Option<LifecycleRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// A lifecycle by code.
    pub async fn lifecycle_by_code(&mut self, code: &str) -> Result<Option<Lifecycle>, StoreError> {
        let sql = "SELECT * FROM lifecycle WHERE code = $1";
        let row: Option<LifecycleRow> =
            on!(self, c => sqlx::query_as(sql).bind(code).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Lifecycles in order of code, after this one (empty: from the first).
    pub async fn lifecycles(&mut self, after: &str, limit: i64) -> Result<Vec<Lifecycle>, StoreError> {
        let sql = "SELECT * FROM lifecycle WHERE code > $1 ORDER BY code LIMIT $2";
        let rows: Vec<LifecycleRow> =
            on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Lifecycles in order of code, with what is due of each: found once for all of them.
    pub async fn dues(&mut self, now: Timestamp, limit: i64) -> Result<Vec<Dues>, StoreError> {
        let sql = "SELECT l.*, \
                   (SELECT MIN(due) FROM enrollment e WHERE e.lifecycle_id = l.id AND e.status = 'pending' AND e.work IS NULL) AS first_due, \
                   (SELECT MIN(due) FROM enrollment e WHERE e.lifecycle_id = l.id AND e.status = 'pending' AND e.work IS NULL \
                   AND e.due > $1) AS next_due FROM lifecycle l ORDER BY code LIMIT $2";
        let rows: Vec<DuesRow> =
            on!(self, c => sqlx::query_as(sql).bind(now.0).bind(limit).fetch_all(c).await)?;
        let read = |row: DuesRow| {
            let (first, next) = (row.first_due.map(Timestamp), row.next_due.map(Timestamp));
            Ok(Dues { lifecycle: row.lifecycle.try_into()?, first, next })
        };
        rows.into_iter().map(read).collect()
    }

    /// How many lifecycles there are.
    pub async fn lifecycle_count(&mut self) -> Result<i64, StoreError> {
        Ok(on!(self, c => sqlx::query_scalar("SELECT COUNT(*) FROM lifecycle").fetch_one(c).await)?)
    }

    /// A version of a lifecycle.
    pub async fn lifecycle_version(
        &mut self,
        id: LifecycleId,
        revision: u32,
    ) -> Result<Option<VersionRow>, StoreError> {
        let sql = "SELECT source, mapping FROM lifecycle_version WHERE lifecycle_id = $1 AND revision = $2";
        let row: Option<(String, String)> = on!(self, c => sqlx::query_as(sql).bind(id.to_string())
            .bind(i64::from(revision)).fetch_optional(c).await)?;
        let read = |(source, mapping): (String, String)| {
            Ok(VersionRow { source, mapping: from_json("mapping", &mapping)? })
        };
        row.map(read).transpose()
    }

    /// Where those enrollments of a lifecycle stand that are not completed.
    pub async fn standing(&mut self, id: LifecycleId) -> Result<Vec<Standing>, StoreError> {
        let sql = "SELECT revision, stage, begun, waits, COUNT(*) AS count FROM (\
                   SELECT revision, stage, (attempt > 0 OR work IS NOT NULL) AS begun, \
                   (attempt = 0 AND work IS NOT NULL AND work IN ('look', 'offer')) AS waits \
                   FROM enrollment WHERE lifecycle_id = $1 AND status <> 'completed') AS standing \
                   GROUP BY revision, stage, begun, waits ORDER BY revision, stage, begun, waits";
        Ok(on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_all(c).await)?)
    }

    /// Enrollments of a lifecycle by status.
    pub async fn enrollment_counts(&mut self, id: LifecycleId) -> Result<BTreeMap<String, i64>, StoreError> {
        let sql = "SELECT status, COUNT(*) FROM enrollment WHERE lifecycle_id = $1 GROUP BY status";
        let rows: Vec<(String, i64)> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_all(c).await)?;
        Ok(rows.into_iter().collect())
    }
}

impl Unit<'_> {
    /// Stores a new lifecycle. `Duplicate("code")` when its code is taken.
    pub async fn insert_lifecycle(&mut self, lifecycle: &Lifecycle) -> Result<(), StoreError> {
        let r = LifecycleRow::from(lifecycle);
        let sql = "INSERT INTO lifecycle (id, code, name, active, starts_at, ends_at, activation, revision, run_at, created_at, \
                   updated_at, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (code) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, &r.code, &r.name, r.active, r.starts_at, r.ends_at, &r.activation, r.revision, r.run_at,
            r.created_at, r.updated_at, r.version,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("code".to_owned()))
    }

    /// Stores a changed lifecycle, if nobody changed it meanwhile. The version rises here.
    pub async fn update_lifecycle(&mut self, lifecycle: &mut Lifecycle) -> Result<(), StoreError> {
        let seen = lifecycle.version;
        lifecycle.version += 1;
        lifecycle.updated_at = self.now();
        let r = LifecycleRow::from(&*lifecycle);
        let sql = "UPDATE lifecycle SET name = $3, active = $4, starts_at = $5, ends_at = $6, activation = $7, revision = $8, \
                   run_at = $9, updated_at = $10, version = $11 WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, seen, &r.name, r.active, r.starts_at, r.ends_at, &r.activation, r.revision, r.run_at,
            r.updated_at, r.version,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// Removes a lifecycle with its versions.
    pub async fn delete_lifecycle(&mut self, lifecycle: &Lifecycle) -> Result<(), StoreError> {
        let sql = "DELETE FROM lifecycle WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), lifecycle.id.to_string(), lifecycle.version)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// Stores a version of a lifecycle.
    pub async fn insert_lifecycle_version(
        &mut self,
        id: LifecycleId,
        revision: u32,
        version: &VersionRow,
        principal: &str,
    ) -> Result<(), StoreError> {
        let now = self.now().0;
        let sql = "INSERT INTO lifecycle_version (lifecycle_id, revision, source, mapping, principal, applied_at) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        on!(self.writing().await?, c => bind!(
            sqlx::query(sql), id.to_string(), i64::from(revision), &version.source, to_json(&version.mapping), principal, now,
        ).execute(c).await.map(drop))?;
        Ok(())
    }
}

/// Which enrollments.
#[derive(Debug, Clone, Default)]
pub struct EnrollmentFilter {
    /// Only of this lifecycle.
    pub lifecycle: Option<LifecycleId>,
    /// Only of this subject: type and id.
    pub subject: Option<(String, String)>,
    /// Only in this status.
    pub status: Option<String>,
}

impl EnrollmentFilter {
    pub(super) fn page(&self, after: &str) -> Page {
        Page::of("enrollment")
            .only("lifecycle_id", self.lifecycle.map(|id| id.to_string()))
            .only("subject_type", self.subject.as_ref().map(|(kind, _)| kind.clone()))
            .only("subject_id", self.subject.as_ref().map(|(_, id)| id.clone()))
            .only("status", self.status.clone())
            .after(after)
    }
}

/// Which lines of the log.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    /// Only of this enrollment.
    pub enrollment: Option<String>,
    /// Only of this lifecycle.
    pub lifecycle: Option<String>,
    /// Only of this stage.
    pub stage: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only from this time on.
    pub since: Option<i64>,
    /// Only before this time.
    pub until: Option<i64>,
}

impl ExecutionFilter {
    /// Newest first: by time, so that what was long ago is found as fast as what is new.
    pub(super) fn page(&self, before: Option<(i64, i64)>) -> Page {
        Page::of("execution")
            .only("enrollment_id", self.enrollment.clone())
            .only("lifecycle_id", self.lifecycle.clone())
            .only("stage", self.stage.clone())
            .only("outcome", self.outcome.clone())
            .number("at", ">=", self.since)
            .number("at", "<", self.until)
            .older(before)
            .ordered("at DESC, seq DESC")
    }
}
