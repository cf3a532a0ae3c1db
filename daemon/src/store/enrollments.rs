//! Enrollments and the log of their stages.

use super::lifecycles::{EnrollmentFilter, ExecutionFilter};
use super::page::Page;
use super::rows::{Change, EnrollmentRow, ExecutionRow, TransitionRow};
use super::{Db, StoreError, Unit};
use crate::domain::enrollment::{Enrollment, Outcome};
use crate::domain::id::{EnrollmentId, LifecycleId, ResourceId, RunId};
use crate::domain::time::Timestamp;

/// An enrollment to look at, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Seen {
    /// Which.
    pub id: String,
    /// Its version then.
    pub version: i64,
}

/// How a stage went, for the log.
#[derive(Debug, Clone, Copy)]
pub struct Execution<'a> {
    /// As it was before.
    pub before: &'a Enrollment,
    /// The execution that it is about; 0: none.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, or what was said.
    pub error: &'a str,
    /// The run that did it.
    pub run: Option<RunId>,
    /// Who did it by hand, or decided; empty: nobody.
    pub who: &'a str,
}

impl Db<'_> {
    /// An enrollment by id.
    pub async fn enrollment(&mut self, id: EnrollmentId) -> Result<Option<Enrollment>, StoreError> {
        let sql = "SELECT * FROM enrollment WHERE id = $1";
        let row: Option<EnrollmentRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// The enrollment of a subject.
    pub async fn enrollment_of(
        &mut self,
        lifecycle: LifecycleId,
        kind: &str,
        id: &str,
    ) -> Result<Option<Enrollment>, StoreError> {
        let sql =
            "SELECT * FROM enrollment WHERE lifecycle_id = $1 AND subject_type = $2 AND subject_id = $3";
        let row: Option<EnrollmentRow> = on!(self, c => sqlx::query_as(sql).bind(lifecycle.to_string()).bind(kind).bind(id)
            .fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Enrollments in order of id, after this one (empty: from the first).
    pub async fn enrollments(
        &mut self,
        filter: &EnrollmentFilter,
        after: &str,
        limit: i64,
    ) -> Result<Vec<EnrollmentRow>, StoreError> {
        filter.page(after).fetch(self, limit).await
    }

    /// Enrollments that are due before a time, in order of time, after this place.
    pub async fn enrollments_due(
        &mut self,
        lifecycle: Option<LifecycleId>,
        before: Timestamp,
        (due, id): (i64, &str),
        limit: i64,
    ) -> Result<Vec<EnrollmentRow>, StoreError> {
        let all = "SELECT * FROM enrollment WHERE status = 'pending' AND work IS NULL AND due < $1 AND (due, id) > ($2, $3) \
                   ORDER BY due, id LIMIT $4";
        let one = "SELECT * FROM enrollment WHERE status = 'pending' AND work IS NULL AND due < $1 AND (due, id) > ($2, $3) \
                   AND lifecycle_id = $5 ORDER BY due, id LIMIT $4";
        Ok(match lifecycle {
            None => on!(self, c => bind!(sqlx::query_as(all), before.0, due, id, limit).fetch_all(c).await)?,
            Some(of) => {
                on!(self, c => bind!(sqlx::query_as(one), before.0, due, id, limit, of.to_string()).fetch_all(c).await)?
            }
        })
    }

    /// Enrollments that are not completed, of one server's subjects or of all, in order of id, after this one.
    pub async fn open_enrollments(
        &mut self,
        server: Option<&str>,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Enrollment>, StoreError> {
        let server = server.map(str::to_owned);
        let page =
            Page::of("enrollment").only("server_id", server).such_that("status <> 'completed'").after(after);
        let rows: Vec<EnrollmentRow> = page.fetch(self, limit).await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Enrollments of a lifecycle that are due until a time, earliest first.
    pub async fn due(
        &mut self,
        lifecycle: LifecycleId,
        until: Timestamp,
        limit: i64,
    ) -> Result<Vec<Seen>, StoreError> {
        let sql = "SELECT id, version FROM enrollment WHERE lifecycle_id = $1 AND status = 'pending' AND work IS NULL AND due <= $2 \
                   ORDER BY due, id LIMIT $3";
        Ok(
            on!(self, c => bind!(sqlx::query_as(sql), lifecycle.to_string(), until.0, limit).fetch_all(c).await)?,
        )
    }

    /// How many enrollments are due, of lifecycles that work now: counted, not read.
    pub async fn due_count(&mut self, now: Timestamp) -> Result<i64, StoreError> {
        let sql = "SELECT COUNT(*) FROM enrollment e JOIN lifecycle l ON l.id = e.lifecycle_id \
                   WHERE e.status = 'pending' AND e.work IS NULL AND e.due <= $1 AND l.active \
                   AND (l.starts_at IS NULL OR l.starts_at <= $1) AND (l.ends_at IS NULL OR l.ends_at > $1) \
                   AND (l.activation = 'cron' OR e.due <= l.run_at)";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(now.0).fetch_one(c).await)?)
    }

    /// Enrollments whose run is over: what ends a run has marked them.
    pub async fn runs_over(&mut self, limit: i64) -> Result<Vec<Seen>, StoreError> {
        let sql = "SELECT id, version FROM enrollment WHERE run_over ORDER BY run_id LIMIT $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(limit).fetch_all(c).await)?)
    }

    /// Enrollments for which what goes on has no more time.
    pub async fn out_of_time(&mut self, now: Timestamp, limit: i64) -> Result<Vec<Seen>, StoreError> {
        let sql = "SELECT id, version FROM enrollment WHERE until IS NOT NULL AND until <= $1 ORDER BY until, id LIMIT $2";
        Ok(on!(self, c => sqlx::query_as(sql).bind(now.0).bind(limit).fetch_all(c).await)?)
    }

    /// Enrollments that a worker of a queue may take, earliest first. Those of lifecycles that rest stand in nobody's way.
    pub async fn offers(&mut self, queue: &str, now: Timestamp, limit: i64) -> Result<Vec<Seen>, StoreError> {
        let sql = "SELECT id, version FROM enrollment e WHERE work = 'offer' AND queue = $1 AND NOT EXISTS (\
                   SELECT 1 FROM lifecycle l WHERE l.id = e.lifecycle_id AND (NOT l.active OR l.starts_at > $2 OR l.ends_at <= $2)) \
                   ORDER BY due, id LIMIT $3";
        Ok(on!(self, c => sqlx::query_as(sql).bind(queue).bind(now.0).bind(limit).fetch_all(c).await)?)
    }

    /// The records of the scripts of stages that bear this name, on whatever server.
    pub async fn stage_scripts(&mut self, name: &str) -> Result<Vec<ResourceId>, StoreError> {
        let sql = "SELECT id FROM resource WHERE package = 'stage_script' AND name = $1";
        let ids: Vec<String> = on!(self, c => sqlx::query_scalar(sql).bind(name).fetch_all(c).await)?;
        let id =
            |text: String| text.parse().map_err(|_| StoreError::Corrupt(format!("resource id `{text}`")));
        ids.into_iter().map(id).collect()
    }

    /// Names the pass of an enrollment through its stage: the line of the log with which it came there; 0: with none.
    pub async fn entered(&mut self, id: EnrollmentId) -> Result<i64, StoreError> {
        let sql = "SELECT MAX(seq) FROM execution WHERE enrollment_id = $1 AND outcome <> 'failed'";
        let seq: Option<i64> =
            on!(self, c => sqlx::query_scalar(sql).bind(id.to_string()).fetch_one(c).await)?;
        Ok(seq.unwrap_or(0))
    }

    /// Lines of the log, newest first, before this one: its time and its number.
    pub async fn executions(
        &mut self,
        filter: &ExecutionFilter,
        before: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<ExecutionRow>, StoreError> {
        filter.page(before).fetch(self, limit).await
    }

    /// Records older than these: enrollments that are completed, and lines of the log.
    pub async fn expired_enrollments(
        &mut self,
        completed: Timestamp,
        log: Timestamp,
    ) -> Result<(i64, i64), StoreError> {
        let enrollments = "SELECT COUNT(*) FROM enrollment WHERE status = 'completed' AND ended_at < $1";
        let lines = "SELECT COUNT(*) FROM execution WHERE at < $1";
        let enrollments =
            on!(&mut *self, c => sqlx::query_scalar(enrollments).bind(completed.0).fetch_one(c).await)?;
        let lines = on!(self, c => sqlx::query_scalar(lines).bind(log.0).fetch_one(c).await)?;
        Ok((enrollments, lines))
    }
}

impl Unit<'_> {
    /// Stores a new enrollment. `Duplicate("subject")`: the subject is enrolled already.
    pub async fn insert_enrollment(&mut self, enrollment: &mut Enrollment) -> Result<(), StoreError> {
        enrollment.seq = self.next_seq();
        let r = EnrollmentRow::from(&*enrollment);
        let sql = "INSERT INTO enrollment (id, lifecycle_id, code, subject_type, subject_id, server_id, resource_id, principal, revision, \
                   stage, attempt, deferrals, waits_since, waits_for, payload, status, due, work, run_id, queue, worker, until, ended_at, \
                   last_error, work_no, created_at, updated_at, version, seq, taken_by, \
                   closed_since) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                   $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31) \
                   ON CONFLICT (lifecycle_id, subject_type, subject_id) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, &r.lifecycle_id, &r.code, &r.subject_type, &r.subject_id, &r.server_id, &r.resource_id,
            &r.principal, r.revision, &r.stage, r.attempt, r.deferrals, r.waits_since, &r.waits_for, &r.payload, &r.status, r.due,
            &r.work, &r.run_id, &r.queue, &r.worker, r.until, r.ended_at, &r.last_error, r.work_no, r.created_at, r.updated_at,
            r.version, r.seq, &r.taken_by, r.closed_since,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("subject".to_owned()))?;
        self.record(TransitionRow::of_enrollment(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed enrollment, if nobody changed it meanwhile. The version rises here.
    pub async fn update_enrollment(&mut self, enrollment: &mut Enrollment) -> Result<(), StoreError> {
        let seen = enrollment.version;
        enrollment.version += 1;
        enrollment.updated_at = self.now();
        enrollment.seq = self.next_seq();
        let r = EnrollmentRow::from(&*enrollment);
        let sql = "UPDATE enrollment SET revision = $3, stage = $4, attempt = $5, deferrals = $6, waits_since = $7, waits_for = $8, \
                   payload = $9, status = $10, due = $11, work = $12, run_id = $13, queue = $14, worker = $15, until = $16, \
                   ended_at = $17, last_error = $18, work_no = $19, updated_at = $20, version = $21, seq = $22, principal = $23, \
                   server_id = $24, resource_id = $25, taken_by = $26, closed_since = $27, \
                   run_over = ($13 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM run WHERE run.id = $13 AND run.state <> 'completed')) \
                   WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, seen, r.revision, &r.stage, r.attempt, r.deferrals, r.waits_since, &r.waits_for, &r.payload,
            &r.status, r.due, &r.work, &r.run_id, &r.queue, &r.worker, r.until, r.ended_at, &r.last_error, r.work_no,
            r.updated_at, r.version, r.seq, &r.principal, &r.server_id, &r.resource_id,
            &r.taken_by, r.closed_since,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_enrollment(&r, Change::Updated));
        Ok(())
    }

    /// Removes an enrollment. Its log stays.
    pub async fn delete_enrollment(&mut self, enrollment: &mut Enrollment) -> Result<(), StoreError> {
        enrollment.seq = self.next_seq();
        let r = EnrollmentRow::from(&*enrollment);
        let sql = "DELETE FROM enrollment WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.id, r.version)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_enrollment(&r, Change::Gone));
        Ok(())
    }

    /// Writes a line of the log that belongs to the change of `after`, which was stored just now.
    pub async fn log_execution(
        &mut self,
        after: &Enrollment,
        execution: Execution<'_>,
    ) -> Result<(), StoreError> {
        let Execution { before, attempt, outcome, error, run, who } = execution;
        let sql = "INSERT INTO execution (seq, at, enrollment_id, lifecycle_id, code, subject_type, subject_id, revision, stage, attempt, \
                   deferrals, outcome, payload_before, payload_after, error, run_id, who) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
        let now = self.now().0;
        on!(self.writing().await?, c => bind!(
            sqlx::query(sql), after.seq, now, after.id.to_string(), after.lifecycle.to_string(), &after.code,
            &after.subject.kind, &after.subject.id, i64::from(before.revision), &before.stage, i64::from(attempt),
            i64::from(before.deferrals), outcome.as_str(), &before.payload, &after.payload, super::rows::clean(error),
            run.map(|id| id.to_string()), who,
        ).execute(c).await.map(drop))?;
        Ok(())
    }

    /// Removes at most `batch` enrollments that were completed before a time; answers how many went.
    pub async fn expire_enrollments(&mut self, before: Timestamp, batch: i64) -> Result<u64, StoreError> {
        let sql = "SELECT * FROM enrollment WHERE status = 'completed' AND ended_at < $1 ORDER BY ended_at LIMIT $2";
        let rows: Vec<EnrollmentRow> =
            on!(self.db().await?, c => sqlx::query_as(sql).bind(before.0).bind(batch).fetch_all(c).await)?;
        let gone = rows.len() as u64;
        for row in rows {
            self.delete_enrollment(&mut row.try_into()?).await?;
        }
        Ok(gone)
    }

    /// Removes at most `batch` lines of the log that are older than a time; answers how many went.
    pub async fn expire_executions(&mut self, before: Timestamp, batch: i64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM execution WHERE seq IN (SELECT seq FROM execution WHERE at < $1 ORDER BY at LIMIT $2)";
        let gone = on!(self.writing().await?, c => sqlx::query(sql).bind(before.0).bind(batch)
            .execute(c).await.map(|d| d.rows_affected()))?;
        if gone == 0 {
            self.wrote_nothing();
        }
        Ok(gone)
    }
}
