//! Schedules in the store, and what became of their due times: each once, since (schedule, due) is the key of an occurrence.

use super::rows::{Change, OccurrenceRow, ScheduleRow, TransitionRow};
use super::{Db, StoreError, Unit};
use crate::domain::id::ScheduleId;
use crate::domain::schedule::{Occurrence, Schedule};
use crate::domain::time::Timestamp;

/// Which schedules.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScheduleFilter {
    /// Only those that are paused, or only those that are not.
    pub paused: Option<bool>,
    /// Only those that are built in, or only the others.
    pub built_in: Option<bool>,
}

impl Db<'_> {
    /// A schedule by id.
    pub async fn schedule(&mut self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE id = $1";
        let row: Option<ScheduleRow> =
            on!(self, c => sqlx::query_as(sql).bind(id.to_string()).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// A schedule by name.
    pub async fn schedule_by_name(&mut self, name: &str) -> Result<Option<Schedule>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE name = $1";
        let row: Option<ScheduleRow> =
            on!(self, c => sqlx::query_as(sql).bind(name).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Schedules in order of name, after `after`, at most `limit`.
    pub async fn schedules(
        &mut self,
        filter: ScheduleFilter,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Schedule>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE name > $1 AND (NOT $2 OR paused = $3) \
                   AND (NOT $4 OR (principal = 'settled') = $5) ORDER BY name LIMIT $6";
        let ScheduleFilter { paused, built_in } = filter;
        let rows: Vec<ScheduleRow> = on!(self, c => sqlx::query_as(sql).bind(after).bind(paused.is_some())
            .bind(paused.unwrap_or(false)).bind(built_in.is_some()).bind(built_in.unwrap_or(false)).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Schedules that have something due, the longest due first, after the one that is due since `after` and has this `id`, at most
    /// `limit`. As rows, so that one which cannot be read keeps nobody from the others.
    pub async fn schedules_due(
        &mut self,
        now: Timestamp,
        (after, id): (i64, &str),
        limit: i64,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE fire_at IS NOT NULL AND fire_at <= $1 AND (fire_at, id) > ($2, $3) \
                   ORDER BY fire_at, id LIMIT $4";
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(now.0).bind(after).bind(id).bind(limit).fetch_all(c).await)?,
        )
    }

    /// When something is due next; `None`: nothing is.
    pub async fn next_fire_at(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT MIN(fire_at) FROM schedule WHERE fire_at IS NOT NULL";
        let at: Option<i64> = on!(self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
        Ok(at.map(Timestamp))
    }

    /// Schedules with occurrences that wait, after the one with this id, at most `limit`.
    pub async fn schedules_waiting(
        &mut self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<ScheduleRow>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE waiting > 0 AND id > $1 ORDER BY id LIMIT $2";
        Ok(on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).fetch_all(c).await)?)
    }

    /// Schedules that have changed since settled was installed, in order of name, after `after`: for snapshots.
    pub async fn changed_schedules(&mut self, after: &str, limit: i64) -> Result<Vec<Schedule>, StoreError> {
        let sql = "SELECT * FROM schedule WHERE name > $1 AND seq > 0 ORDER BY name LIMIT $2";
        let rows: Vec<ScheduleRow> =
            on!(self, c => sqlx::query_as(sql).bind(after).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// One occurrence.
    pub async fn occurrence(
        &mut self,
        schedule: ScheduleId,
        due: Timestamp,
    ) -> Result<Option<Occurrence>, StoreError> {
        let sql = "SELECT * FROM occurrence WHERE schedule_id = $1 AND due = $2";
        let row: Option<OccurrenceRow> = on!(self, c =>
            sqlx::query_as(sql).bind(schedule.to_string()).bind(due.0).fetch_optional(c).await)?;
        row.map(TryInto::try_into).transpose()
    }

    /// Occurrences of a schedule that were due before this time, the newest first, at most `limit`.
    pub async fn occurrences(
        &mut self,
        schedule: ScheduleId,
        fate: Option<&str>,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<Occurrence>, StoreError> {
        let sql = "SELECT * FROM occurrence WHERE schedule_id = $1 AND due < $2 AND ($3 = '' OR fate = $3) \
                   ORDER BY due DESC LIMIT $4";
        let rows: Vec<OccurrenceRow> = on!(self, c => sqlx::query_as(sql).bind(schedule.to_string()).bind(before.0)
            .bind(fate.unwrap_or_default()).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Occurrences of a schedule that wait, the longest due first.
    pub async fn waiting_occurrences(&mut self, schedule: ScheduleId) -> Result<Vec<Occurrence>, StoreError> {
        let sql = "SELECT * FROM occurrence WHERE schedule_id = $1 AND fate = 'waiting' ORDER BY due";
        let rows: Vec<OccurrenceRow> =
            on!(self, c => sqlx::query_as(sql).bind(schedule.to_string()).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}

impl Unit<'_> {
    /// Stores a new schedule. `Duplicate("name")` when the name is taken.
    pub async fn insert_schedule(&mut self, schedule: &mut Schedule) -> Result<(), StoreError> {
        schedule.seq = self.next_seq();
        let r = ScheduleRow::from(&*schedule);
        let sql = "INSERT INTO schedule (id, name, cron, time_zone, target, overlap, missed, missed_within, jitter, starts_at, ends_at, \
                   paused, principal, next_due, fire_at, open_runs, open_enrollments, waiting, last, created_at, updated_at, version, seq) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23) \
                   ON CONFLICT (name) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, &r.name, &r.cron, &r.time_zone, &r.target, &r.overlap, &r.missed, r.missed_within, r.jitter,
            r.starts_at, r.ends_at, r.paused, &r.principal, r.next_due, r.fire_at, &r.open_runs, &r.open_enrollments,
            r.waiting, &r.last, r.created_at, r.updated_at, r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("name".to_owned()))?;
        self.record(TransitionRow::of_schedule(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed schedule, if nobody changed it meanwhile. The version rises here.
    pub async fn update_schedule(&mut self, schedule: &mut Schedule) -> Result<(), StoreError> {
        schedule.seq = self.next_seq();
        schedule.updated_at = self.now();
        let row = self.write_schedule(schedule).await?;
        self.record(TransitionRow::of_schedule(&row, Change::Updated));
        Ok(())
    }

    /// The same, without a transition: a built-in schedule goes on to its next time, which is nobody's news.
    pub async fn move_schedule(&mut self, schedule: &mut Schedule) -> Result<(), StoreError> {
        self.write_schedule(schedule).await.map(drop)
    }

    async fn write_schedule(&mut self, schedule: &mut Schedule) -> Result<ScheduleRow, StoreError> {
        let seen = schedule.version;
        schedule.version += 1;
        let r = ScheduleRow::from(&*schedule);
        let sql = "UPDATE schedule SET cron = $3, time_zone = $4, target = $5, overlap = $6, missed = $7, missed_within = $8, \
                   jitter = $9, starts_at = $10, ends_at = $11, paused = $12, principal = $13, next_due = $14, fire_at = $15, \
                   open_runs = $16, waiting = $17, last = $18, updated_at = $19, version = $20, seq = $21, open_enrollments = $22 \
                   WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.id, seen, &r.cron, &r.time_zone, &r.target, &r.overlap, &r.missed, r.missed_within, r.jitter,
            r.starts_at, r.ends_at, r.paused, &r.principal, r.next_due, r.fire_at, &r.open_runs, r.waiting, &r.last, r.updated_at,
            r.version, r.seq, &r.open_enrollments,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        Ok(r)
    }

    /// Removes a schedule. What became of its due times stays.
    pub async fn delete_schedule(&mut self, schedule: &mut Schedule) -> Result<(), StoreError> {
        schedule.seq = self.next_seq();
        let r = ScheduleRow::from(&*schedule);
        let sql = "DELETE FROM schedule WHERE id = $1 AND version = $2";
        let done = on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.id, r.version)
            .execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_schedule(&r, Change::Gone));
        Ok(())
    }

    /// Stores what became of a due time. `Conflict`: that is stored already.
    pub async fn insert_occurrence(&mut self, occurrence: &Occurrence) -> Result<(), StoreError> {
        let r = OccurrenceRow::from(occurrence);
        let sql = "INSERT INTO occurrence (schedule_id, due, until, count, cause, fate, why, runs, refused, at, enrollments, principal) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (schedule_id, due) DO NOTHING";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.schedule_id, r.due, r.until, r.count, &r.cause, &r.fate, &r.why, &r.runs, &r.refused, r.at,
            &r.enrollments, &r.principal,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// Stores what became of an occurrence that waited. `Conflict`: it does not wait any more.
    pub async fn end_waiting(&mut self, occurrence: &Occurrence) -> Result<(), StoreError> {
        let r = OccurrenceRow::from(occurrence);
        let sql = "UPDATE occurrence SET fate = $3, why = $4, runs = $5, refused = $6, at = $7, enrollments = $8 \
                   WHERE schedule_id = $1 AND due = $2 AND fate = 'waiting'";
        let done = on!(self.writing().await?, c => bind!(
            sqlx::query(sql), &r.schedule_id, r.due, &r.fate, &r.why, &r.runs, &r.refused, r.at, &r.enrollments,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)
    }

    /// Adds to a chore that was begun what came of it.
    pub async fn complete_occurrence(&mut self, occurrence: &Occurrence) -> Result<(), StoreError> {
        let r = OccurrenceRow::from(occurrence);
        let sql = "UPDATE occurrence SET fate = $3, why = $4, at = $5 WHERE schedule_id = $1 AND due = $2";
        on!(self.writing().await?, c => bind!(sqlx::query(sql), &r.schedule_id, r.due, &r.fate, &r.why, r.at)
            .execute(c).await.map(drop))?;
        Ok(())
    }
}
