//! One unit of writing: what a batch of commands does in one transaction.
//!
//! Every write of an object goes with its transition, numbered here. The counter row is locked before anything else, so the order of
//! numbers is the order of commits, on one daemon or on several, and no two units can deadlock.

use std::sync::LazyLock;

use super::rows::{Change, ResourceRow, RunRow, ServerRow, StepRecord, StepRow, TransitionRow};
use super::{Db, StoreError};
use crate::domain::resource::Resource;
use crate::domain::run::Run;
use crate::domain::server::Server;
use crate::domain::step::StepId;
use crate::domain::time::Timestamp;
use crate::domain::timings::Timings;

/// Binds values to a query, in order.
macro_rules! bind {
    ($query:expr, $($value:expr),+ $(,)?) => { $query$(.bind($value))+ };
}

/// Statements that insert 64, 8 or 1 rows: fixed sizes, so that the engines prepare each once.
struct Inserts([(usize, String); 3]);

impl Inserts {
    fn new(table: &str, columns: &[&str]) -> Self {
        let width = columns.len();
        let row =
            |n: usize| (1..=width).map(|c| format!("${}", n * width + c)).collect::<Vec<_>>().join(", ");
        let rows = |size| (0..size).map(|n| format!("({})", row(n))).collect::<Vec<_>>().join(", ");
        let into = format!("INSERT INTO {table} ({})", columns.join(", "));
        Self([64, 8, 1].map(|size| (size, format!("{into} VALUES {}", rows(size)))))
    }

    /// The largest statement that `rows` rows fill.
    fn for_rows(&self, rows: usize) -> (usize, &str) {
        let [.., one] = &self.0;
        let (size, sql) = self.0.iter().find(|(size, _)| rows >= *size).unwrap_or(one);
        (*size, sql)
    }
}

static INSERT_TRANSITIONS: LazyLock<Inserts> = LazyLock::new(|| {
    let columns = [
        "seq",
        "at",
        "kind",
        "change",
        "object_id",
        "server_id",
        "resource_id",
        "run_id",
        "old_labels",
        "object",
    ];
    Inserts::new("transition", &columns)
});

static INSERT_AUDIT: LazyLock<Inserts> = LazyLock::new(|| {
    Inserts::new("audit", &["id", "at", "principal", "method", "object", "result", "run_id"])
});

/// A command for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// ULID.
    pub id: String,
    /// Who asked.
    pub principal: String,
    /// Which method.
    pub method: String,
    /// Of which object.
    pub object: String,
    /// `accepted`, or why not.
    pub result: String,
    /// The run that came of it.
    pub run_id: Option<String>,
}

/// A transaction in progress.
pub struct Unit<'c> {
    db: Db<'c>,
    now: Timestamp,
    seq: i64,
    writes: u64,
    transitions: Vec<TransitionRow>,
    audit: Vec<AuditRow>,
}

/// How far a unit had come before a command ran in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    writes: u64,
    audit: usize,
}

impl<'c> Unit<'c> {
    /// A unit on a connection that has begun its transaction and locked the counter, which stands at `seq`.
    pub(super) const fn new(db: Db<'c>, now: Timestamp, seq: i64) -> Self {
        Self { db, now, seq, writes: 0, transitions: Vec::new(), audit: Vec::new() }
    }

    pub(super) const fn mark(&self) -> Mark {
        Mark { writes: self.writes, audit: self.audit.len() }
    }

    /// Forgets a refused command; false when it had written, so that nothing of this unit may be committed.
    pub(super) fn forget(&mut self, since: Mark) -> bool {
        self.audit.truncate(since.audit);
        self.writes == since.writes
    }

    /// Whether there is nothing to commit.
    pub(super) const fn is_empty(&self) -> bool {
        self.writes == 0 && self.audit.is_empty()
    }

    /// The time of this unit.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The connection, to load what a decision needs.
    pub const fn db(&mut self) -> &mut Db<'c> {
        &mut self.db
    }

    /// The connection, for a statement that writes. Counted before it runs: one that fails half-way has written too.
    pub(super) const fn writing(&mut self) -> &mut Db<'c> {
        self.writes += 1;
        &mut self.db
    }

    /// Takes back the count of a statement that turned out to change nothing.
    pub(super) const fn wrote_nothing(&mut self) {
        self.writes -= 1;
    }

    /// Zero rows: the guard of a [`Unit::writing`] statement has refused it, and it has changed nothing.
    pub(super) const fn guarded(&mut self, rows: u64) -> Result<(), StoreError> {
        if rows == 0 {
            self.wrote_nothing();
            return Err(StoreError::Conflict);
        }
        Ok(())
    }

    /// The number of the next transition; taken only by [`Unit::record`], so that a refused write leaves no hole.
    const fn next_seq(&self) -> i64 {
        self.seq + 1
    }

    fn record(&mut self, mut row: TransitionRow) {
        row.at = self.now.0;
        self.seq = row.seq;
        self.transitions.push(row);
    }

    /// Makes sure that the engine has not given the transaction up: then a refusal would only be the echo of a neighbour's fault.
    pub(super) async fn still_stands(mut self) -> Result<(), StoreError> {
        Ok(on!(&mut self.db, c => sqlx::raw_sql("SELECT 1").execute(c).await.map(drop))?)
    }

    /// Writes the transitions and the audit; answers the last number, for the counter.
    pub(super) async fn finish(mut self) -> Result<i64, StoreError> {
        self.write_transitions().await?;
        self.write_audit().await?;
        Ok(self.seq)
    }

    async fn write_transitions(&mut self) -> Result<(), StoreError> {
        let mut rest = self.transitions.as_slice();
        while !rest.is_empty() {
            let (size, sql) = INSERT_TRANSITIONS.for_rows(rest.len());
            let (rows, more) = rest.split_at(size);
            rest = more;
            on!(&mut self.db, c => {
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
                for r in rows {
                    query = bind!(
                        query, r.seq, r.at, &r.kind, &r.change, &r.object_id, &r.server_id, &r.resource_id, &r.run_id,
                        &r.old_labels, &r.object,
                    );
                }
                query.execute(c).await.map(drop)
            })?;
        }
        Ok(())
    }

    async fn write_audit(&mut self) -> Result<(), StoreError> {
        let mut rest = self.audit.as_slice();
        while !rest.is_empty() {
            let (size, sql) = INSERT_AUDIT.for_rows(rest.len());
            let (rows, more) = rest.split_at(size);
            rest = more;
            on!(&mut self.db, c => {
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
                for a in rows {
                    query = bind!(query, &a.id, self.now.0, &a.principal, &a.method, &a.object, &a.result, &a.run_id);
                }
                query.execute(c).await.map(drop)
            })?;
        }
        Ok(())
    }

    /// Notes a command for the audit; written with the rest of the unit.
    pub fn audit(&mut self, row: AuditRow) {
        self.audit.push(row);
    }

    /// Stores a new server. `Duplicate("name")` when the name is taken.
    pub async fn insert_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "INSERT INTO server (id, name, host, port, login, host_key, identity, labels, machine_id, status, reach, \
                   reach_detail, last_seen, last_error, facts, created_at, updated_at, version, seq) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
                   ON CONFLICT (name) DO NOTHING";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, &r.name, &r.host, r.port, &r.login, &r.host_key, &r.identity, &r.labels, &r.machine_id,
            &r.status, &r.reach, &r.reach_detail, r.last_seen, &r.last_error, &r.facts, r.created_at, r.updated_at, r.version,
            r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("name".to_owned()))?;
        let lane = "INSERT INTO lane (server_id, owner, epoch) VALUES ($1, NULL, 0)";
        on!(self.writing(), c => sqlx::query(lane).bind(&r.id).execute(c).await.map(drop))?;
        self.record(TransitionRow::of_server(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed server, if nobody changed it meanwhile. The version rises here.
    pub async fn update_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        let seen = server.version;
        server.version += 1;
        server.updated_at = self.now;
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "UPDATE server SET host = $3, port = $4, login = $5, host_key = $6, identity = $7, labels = $8, machine_id = $9, \
                   status = $10, reach = $11, reach_detail = $12, last_seen = $13, last_error = $14, facts = $15, \
                   updated_at = $16, version = $17, seq = $18 WHERE id = $1 AND version = $2";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, seen, &r.host, r.port, &r.login, &r.host_key, &r.identity, &r.labels, &r.machine_id,
            &r.status, &r.reach, &r.reach_detail, r.last_seen, &r.last_error, &r.facts, r.updated_at, r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_server(&r, Change::Updated));
        Ok(())
    }

    /// Removes a server's record with its lane. Its resources must be gone.
    pub async fn delete_server(&mut self, server: &mut Server) -> Result<(), StoreError> {
        server.seq = self.next_seq();
        let r = ServerRow::from(&*server);
        let sql = "DELETE FROM server WHERE id = $1 AND version = $2";
        let done = on!(self.writing(), c => bind!(sqlx::query(sql), &r.id, r.version).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.delete_secrets(&r.id).await?;
        self.record(TransitionRow::of_server(&r, Change::Gone));
        Ok(())
    }

    /// Stores a new resource. `Duplicate("name")` when (server, package, name) is taken.
    pub async fn insert_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        let sql = "INSERT INTO resource (id, server_id, server_name, package, name, status, desired, applied, applied_digest, \
                   applied_known, secrets, last_error, observed, open_run, created_at, updated_at, version, seq) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
                   ON CONFLICT (server_id, package, name) DO NOTHING";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, &r.server_id, &r.server_name, &r.package, &r.name, &r.status, &r.desired, &r.applied,
            &r.applied_digest, r.applied_known, &r.secrets, &r.last_error, &r.observed, &r.open_run, r.created_at, r.updated_at,
            r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done).map_err(|_| StoreError::Duplicate("name".to_owned()))?;
        self.record(TransitionRow::of_resource(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed resource, if nobody changed it meanwhile. The version rises here.
    pub async fn update_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        let seen = resource.version;
        resource.version += 1;
        resource.updated_at = self.now;
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        let sql = "UPDATE resource SET status = $3, desired = $4, applied = $5, applied_digest = $6, applied_known = $7, \
                   secrets = $8, last_error = $9, observed = $10, open_run = $11, updated_at = $12, version = $13, seq = $14 \
                   WHERE id = $1 AND version = $2";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, seen, &r.status, &r.desired, &r.applied, &r.applied_digest, r.applied_known, &r.secrets,
            &r.last_error, &r.observed, &r.open_run, r.updated_at, r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_resource(&r, Change::Updated));
        Ok(())
    }

    /// Removes a resource's record with its keys and secrets.
    pub async fn delete_resource(&mut self, resource: &mut Resource) -> Result<(), StoreError> {
        resource.seq = self.next_seq();
        let r = ResourceRow::from(&*resource);
        let sql = "DELETE FROM resource WHERE id = $1 AND version = $2";
        let done = on!(self.writing(), c => bind!(sqlx::query(sql), &r.id, r.version).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.delete_secrets(&r.id).await?;
        self.record(TransitionRow::of_resource(&r, Change::Gone));
        Ok(())
    }

    /// Stores a new run at the end of its server's queue. Its number in the queue is that of its first transition.
    pub async fn insert_run(&mut self, run: &mut Run, timings: &Timings) -> Result<(), StoreError> {
        run.seq = self.next_seq();
        let r = RunRow::new(run, timings);
        let sql = "INSERT INTO run (id, queue_no, server_id, server_name, resource_id, resource_name, package, digest, earlier, \
                   in_progress, success, operation, exclusive, attempts_max, principal, retry_of, accepted_at, queue_until, \
                   cancel_requested, payload, state, attempt, step, try_no, reconciled, settles_by, epoch, version, seq) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 'queued', \
                   0, 0, 0, FALSE, $21, $22, $23, $24)";
        on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, r.seq, &r.server_id, &r.server_name, &r.resource_id, &r.resource_name, &r.package,
            &r.digest, &r.earlier, &r.in_progress, &r.success, &r.operation, r.exclusive, r.attempts_max, &r.principal,
            &r.retry_of, r.accepted_at, r.queue_until, r.cancel_requested, r.payload, r.settles_by, r.epoch, r.version, r.seq,
        ).execute(c).await.map(drop))?;
        self.record(TransitionRow::of_run(&r, Change::Created));
        Ok(())
    }

    /// Stores a changed run, if nobody changed it meanwhile. The domain has raised the version by one already.
    pub async fn update_run(&mut self, run: &mut Run, timings: &Timings) -> Result<(), StoreError> {
        run.seq = self.next_seq();
        let r = RunRow::new(run, timings);
        let sql = "UPDATE run SET cancel_requested = $3, payload = $4, state = $5, started_at = $6, attempt = $7, step = $8, \
                   try_no = $9, deadline = $10, between_since = $11, wait_reason = $12, wait_who = $13, wait_since = $14, \
                   wait_next_try = $15, outcome = $16, reason = $17, evidence = $18, reconciled = $19, failure = $20, \
                   completed_at = $21, settles_by = $22, epoch = $23, version = $24, seq = $25 \
                   WHERE id = $1 AND version = $2 AND state <> 'completed' AND epoch <= $23";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, r.version - 1, r.cancel_requested, r.payload, &r.state, r.started_at, r.attempt, r.step,
            r.try_no, r.deadline, r.between_since, &r.wait_reason, &r.wait_who, r.wait_since, r.wait_next_try, &r.outcome,
            &r.reason, &r.evidence, r.reconciled, &r.failure, r.completed_at, r.settles_by, r.epoch, r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_run(&r, Change::Updated));
        Ok(())
    }

    /// Stores the intent to start a try.
    pub async fn insert_step(&mut self, step: &mut StepRecord) -> Result<(), StoreError> {
        step.seq = self.next_seq();
        let r = StepRow::from(&*step);
        let sql = "INSERT INTO step (id, run_id, server_id, resource_id, no, title, state, exit_code, why, started_at, ended_at, \
                   output_bytes, truncated, version, seq) \
                   VALUES ($1, $2, $3, $4, (SELECT COALESCE(MAX(no), 0) + 1 FROM step WHERE run_id = $2), $5, $6, $7, $8, $9, \
                   $10, $11, $12, $13, $14) RETURNING no";
        step.no = on!(self.writing(), c => bind!(
            sqlx::query_scalar(sql), &r.id, &r.run_id, &r.server_id, &r.resource_id, &r.title, &r.state, r.exit_code, &r.why,
            r.started_at, r.ended_at, r.output_bytes, r.truncated, r.version, r.seq,
        ).fetch_one(c).await)?;
        self.record(TransitionRow::of_step(&StepRow::from(&*step), Change::Created));
        Ok(())
    }

    /// Stores a changed step, if nobody changed it meanwhile, nor added output, which has its own way. The version rises here.
    pub async fn update_step(&mut self, step: &mut StepRecord) -> Result<(), StoreError> {
        let seen = step.version;
        step.version += 1;
        step.seq = self.next_seq();
        let r = StepRow::from(&*step);
        let sql = "UPDATE step SET state = $4, exit_code = $5, why = $6, ended_at = $7, truncated = $8, version = $9, seq = $10 \
                   WHERE id = $1 AND version = $2 AND output_bytes = $3";
        let done = on!(self.writing(), c => bind!(
            sqlx::query(sql), &r.id, seen, r.output_bytes, &r.state, r.exit_code, &r.why, r.ended_at, r.truncated,
            r.version, r.seq,
        ).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        self.record(TransitionRow::of_step(&r, Change::Updated));
        Ok(())
    }

    /// Appends output of a step at `pos`. `Conflict`: it does not go on exactly where the stored output ends. Not a transition.
    pub async fn append_output(&mut self, step: StepId, pos: u64, data: &[u8]) -> Result<(), StoreError> {
        if data.is_empty() {
            return Ok(());
        }
        let (id, pos) = (step.to_string(), i64::try_from(pos).unwrap_or(i64::MAX));
        let end = pos.saturating_add(i64::try_from(data.len()).unwrap_or(i64::MAX));
        let sql = "UPDATE step SET output_bytes = $3 WHERE id = $1 AND output_bytes = $2";
        let done = on!(self.writing(), c => bind!(sqlx::query(sql), &id, pos, end).execute(c).await.map(|d| d.rows_affected()))?;
        self.guarded(done)?;
        let sql = "INSERT INTO output (step_id, pos, data) VALUES ($1, $2, $3)";
        on!(self.writing(), c => bind!(sqlx::query(sql), &id, pos, data).execute(c).await.map(drop))?;
        Ok(())
    }
}
