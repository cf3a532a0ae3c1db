//! The audit: who asked for what, from where, and what came of it. Rows are added, and go by age from the oldest on; nothing in between
//! can be changed or taken away, which the database itself sees to.

use super::page::Page;
use super::{Db, StoreError, Unit};
use crate::domain::time::Timestamp;

/// A row as a command notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Who asked.
    pub principal: String,
    /// Where from; empty for what settled does by itself.
    pub peer: String,
    /// What it takes: `view`, `operate`, `administer`.
    pub verb: &'static str,
    /// Which method.
    pub method: String,
    /// Of which object.
    pub object: String,
    /// Name of the server that it is, or is on; empty when there is none.
    pub server: String,
    /// What else is to be known of it: a reason, values; may be empty.
    pub detail: String,
    /// What came of it.
    pub result: AuditResult,
    /// JSON: what was changed, from what to what; empty when nothing is told of that.
    pub changes: String,
    /// The run that came of it.
    pub run_id: Option<String>,
}

/// What came of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditResult {
    /// It was accepted.
    Accepted,
    /// It was refused, with this code of the contract.
    Refused(String),
    /// What was accepted before has come to its end.
    Done,
}

impl AuditResult {
    /// The words of the columns `result` and `code`.
    pub(super) fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Accepted => ("accepted", ""),
            Self::Refused(code) => ("refused", code),
            Self::Done => ("done", ""),
        }
    }
}

/// A row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
#[expect(missing_docs, reason = "the columns are described in the migration")]
pub struct AuditRecord {
    pub seq: i64,
    pub at: i64,
    pub principal: String,
    pub peer: String,
    pub verb: String,
    pub method: String,
    pub object: String,
    pub server: String,
    pub detail: String,
    pub result: String,
    pub code: String,
    pub changes: String,
    pub run_id: Option<String>,
    pub transitions_from: i64,
    pub transitions_to: i64,
}

/// Which rows. Absent: all.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "each is a column")]
pub struct AuditFilter {
    pub principal: Option<String>,
    pub verb: Option<String>,
    pub method: Option<String>,
    pub server: Option<String>,
    pub result: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// The oldest first.
    pub oldest_first: bool,
}

impl AuditFilter {
    pub(super) fn page(&self, after: Option<(i64, i64)>) -> Page {
        let page = Page::of("audit")
            .only("principal", self.principal.clone())
            .only("verb", self.verb.clone())
            .only("method", self.method.clone())
            .only("server", self.server.clone())
            .only("result", self.result.clone())
            .number("at", ">=", self.since.map(|since| since.0))
            .number("at", "<", self.until.map(|until| until.0));
        if self.oldest_first {
            page.newer(after).ordered("at, seq")
        } else {
            page.older(after).ordered("at DESC, seq DESC")
        }
    }
}

impl Db<'_> {
    /// Rows by time, the newest first or the oldest, that come after the one of this time and number.
    pub async fn audited(
        &mut self,
        filter: &AuditFilter,
        after: Option<(i64, i64)>,
        limit: i64,
    ) -> Result<Vec<AuditRecord>, StoreError> {
        filter.page(after).fetch(self, limit).await
    }

    /// One row.
    pub async fn audit(&mut self, seq: i64) -> Result<Option<AuditRecord>, StoreError> {
        let sql = "SELECT * FROM audit WHERE seq = $1";
        Ok(on!(self, c => sqlx::query_as(sql).bind(seq).fetch_optional(c).await)?)
    }

    /// Makes the database refuse what would change the audit, or take away what is to be kept. In the transaction that has the counter.
    pub(super) async fn guard_audit(&mut self) -> Result<(), StoreError> {
        match self {
            Db::Sqlite(c) => sqlx::raw_sql(
                "CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON audit BEGIN \
                 SELECT RAISE(ABORT, 'the audit is never changed'); END; \
                 CREATE TRIGGER IF NOT EXISTS audit_goes_by_age BEFORE DELETE ON audit \
                 WHEN OLD.seq >= (SELECT audit_kept_from FROM counter) BEGIN \
                 SELECT RAISE(ABORT, 'the audit goes by age, from its oldest row on'); END",
            )
            .execute(&mut **c)
            .await
            .map(drop)?,
            Db::Postgres(c) => sqlx::raw_sql(
                "CREATE OR REPLACE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF TG_OP = 'DELETE' THEN \
                 IF OLD.seq < (SELECT audit_kept_from FROM counter) THEN RETURN OLD; END IF; \
                 RAISE EXCEPTION 'the audit goes by age, from its oldest row on'; END IF; \
                 RAISE EXCEPTION 'the audit is never changed'; END $$; \
                 CREATE OR REPLACE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE ON audit \
                 FOR EACH ROW EXECUTE FUNCTION audit_is_kept(); \
                 CREATE OR REPLACE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit \
                 FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()",
            )
            .execute(&mut **c)
            .await
            .map(drop)?,
        }
        Ok(())
    }
}

impl Unit<'_> {
    /// Takes away at most `batch` of the oldest rows, as far as they are older than `before`; answers how many went.
    pub(super) async fn expire_audit(&mut self, before: Timestamp, batch: i64) -> Result<u64, StoreError> {
        let sql = "SELECT MIN(seq), COALESCE(MIN(CASE WHEN at >= $1 THEN seq END), MAX(seq) + 1) FROM \
                   (SELECT seq, at FROM audit ORDER BY seq LIMIT $2) AS oldest";
        let (first, keep): (Option<i64>, Option<i64>) =
            on!(self.db().await?, c => sqlx::query_as(sql).bind(before.0).bind(batch).fetch_one(c).await)?;
        let Some(keep) = keep.filter(|keep| first.is_some_and(|first| first < *keep)) else { return Ok(0) };
        let sql = "UPDATE counter SET audit_kept_from = $1";
        on!(self.writing().await?, c => sqlx::query(sql).bind(keep).execute(c).await.map(drop))?;
        let sql = "DELETE FROM audit WHERE seq < $1";
        Ok(
            on!(self.writing().await?, c => sqlx::query(sql).bind(keep).execute(c).await.map(|done| done.rows_affected()))?,
        )
    }
}
