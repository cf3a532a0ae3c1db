//! A page of a list in order of id: one statement for each set of filters, so that each can use its index. A filter that is not given is
//! not in the statement.

use std::fmt::Write as _;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow};

use super::{Db, StoreError};
use crate::domain::freshness::Freshness;
use crate::domain::time::Timestamp;

/// What to read of a table.
pub(super) struct Page {
    sql: String,
    values: Vec<Value>,
    order: &'static str,
    filtered: bool,
}

/// A value of a condition.
enum Value {
    Text(String),
    Number(i64),
}

impl Page {
    /// All of a table, from its smallest id on.
    pub(super) fn of(table: &'static str) -> Self {
        Self { sql: format!("SELECT * FROM {table}"), values: Vec::new(), order: "id", filtered: false }
    }

    /// Only rows with this value in a column, if one is given.
    pub(super) fn only(self, column: &'static str, value: Option<String>) -> Self {
        match value {
            Some(value) => self.and(column, "=", Value::Text(value)),
            None => self,
        }
    }

    /// Only rows whose number in a column is in this relation to a value, if one is given.
    pub(super) fn number(self, column: &'static str, relation: &'static str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.and(column, relation, Value::Number(value)),
            None => self,
        }
    }

    /// Only rows of which this holds.
    pub(super) fn such_that(self, condition: &'static str) -> Self {
        self.that(condition)
    }

    /// In this order instead of that of ids.
    pub(super) fn ordered(self, order: &'static str) -> Self {
        Self { order, ..self }
    }

    /// What comes after this id; all when it is empty.
    pub(super) fn after(self, id: &str) -> Self {
        if id.is_empty() { self } else { self.and("id", ">", Value::Text(id.to_owned())) }
    }

    /// From the largest id on, what comes before this one; all when it is empty.
    pub(super) fn before(self, id: &str) -> Self {
        let backwards = Self { order: "id DESC", ..self };
        if id.is_empty() { backwards } else { backwards.and("id", "<", Value::Text(id.to_owned())) }
    }

    /// What is older than this time, and at this time has a smaller number; all when none is given.
    pub(super) fn older(mut self, than: Option<(i64, i64)>) -> Self {
        let Some((at, seq)) = than else { return self };
        self.values.extend([Value::Number(at), Value::Number(seq)]);
        let place = self.values.len();
        self.that(&format!("(at, seq) < (${}, ${place})", place - 1))
    }

    /// The other way round: what is newer, or has a larger number at this time.
    pub(super) fn newer(mut self, than: Option<(i64, i64)>) -> Self {
        let Some((at, seq)) = than else { return self };
        self.values.extend([Value::Number(at), Value::Number(seq)]);
        let place = self.values.len();
        self.that(&format!("(at, seq) > (${}, ${place})", place - 1))
    }

    /// Only runs that are this fresh at this time, if that is given. What is open, and what was reconciled, stand in small indexes of their
    /// own; nearly all that is completed is `terminal`.
    pub(super) fn fresh(self, freshness: Option<(Freshness, Timestamp)>) -> Self {
        match freshness {
            None => self,
            Some((Freshness::Fresh, at)) => self.and("stale_at", ">=", Value::Number(at.0)),
            Some((Freshness::LikelyStale, at)) => self.and("stale_at", "<", Value::Number(at.0)),
            Some((Freshness::Reconciled, _)) => self.that("reconciled"),
            Some((Freshness::Terminal, _)) => {
                self.only("state", Some("completed".to_owned())).that("NOT reconciled")
            }
        }
    }

    fn and(mut self, column: &'static str, relation: &'static str, value: Value) -> Self {
        self.values.push(value);
        let place = self.values.len();
        self.that(&format!("{column} {relation} ${place}"))
    }

    fn that(mut self, condition: &str) -> Self {
        let joint = if std::mem::replace(&mut self.filtered, true) { "AND" } else { "WHERE" };
        // Writing to a String cannot fail.
        let _infallible = write!(self.sql, " {joint} {condition}");
        self
    }

    /// The statement; its last value is the limit.
    fn statement(&self) -> String {
        format!("{} ORDER BY {} LIMIT ${}", self.sql, self.order, self.values.len() + 1)
    }

    /// Reads at most `limit` rows.
    pub(super) async fn fetch<R>(self, db: &mut Db<'_>, limit: i64) -> Result<Vec<R>, StoreError>
    where
        R: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = self.statement();
        Ok(on!(db, c => {
            let mut query = sqlx::query_as(AssertSqlSafe(sql));
            for value in &self.values {
                query = match value {
                    Value::Text(text) => query.bind(text),
                    Value::Number(number) => query.bind(number),
                };
            }
            query.bind(limit).fetch_all(c).await
        })?)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};

    use super::Page;
    use crate::domain::freshness::Freshness;
    use crate::domain::time::Timestamp;
    use crate::store::audit::AuditFilter;
    use crate::store::lifecycles::{EnrollmentFilter, ExecutionFilter};
    use crate::store::queries::{ResourceFilter, RunFilter};

    const SCHEMA: &str = include_str!("../../../migrations/0001_first.sql");

    async fn empty_store() -> SqliteConnection {
        let options = SqliteConnectOptions::new().in_memory(true);
        let options = options.collation("C", |a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql(SCHEMA).execute(&mut conn).await.unwrap();
        conn
    }

    /// How SQLite would read a page.
    async fn plan(conn: &mut SqliteConnection, page: &Page) -> Vec<String> {
        let sql = format!("EXPLAIN QUERY PLAN {}", page.statement());
        let lines = sqlx::query(AssertSqlSafe(sql)).fetch_all(conn).await.unwrap();
        lines.iter().map(|line| line.get("detail")).collect()
    }

    /// A page costs the same with 1 000 rows and with 10 million: it is found through an index, in the order in which it is given.
    #[tokio::test]
    async fn every_list_with_every_filter_reads_an_index_in_its_order() {
        let some = || Some("x".to_owned());
        let server = Some("01HZZZZZZZZZZZZZZZZZZZZZZZ".parse().unwrap());
        let resources = [
            ResourceFilter::default(),
            ResourceFilter { server, ..ResourceFilter::default() },
            ResourceFilter { package: some(), ..ResourceFilter::default() },
            ResourceFilter { status: some(), ..ResourceFilter::default() },
        ];
        let runs = [
            RunFilter::default(),
            RunFilter { server, ..RunFilter::default() },
            RunFilter { resource: some(), ..RunFilter::default() },
            RunFilter { state: some(), ..RunFilter::default() },
            RunFilter { outcome: some(), ..RunFilter::default() },
        ];
        let fresh = |word| RunFilter { freshness: Some((word, Timestamp(1))), ..RunFilter::default() };
        let runs = runs.into_iter().chain(Freshness::ALL.iter().map(|word| fresh(*word)));
        let runs: Vec<_> = runs.collect();
        let pages = resources.iter().flat_map(|f| [f.page(""), f.page("y")]);
        let pages = pages.chain(runs.iter().flat_map(|f| [f.page(""), f.page("y")]));
        let lifecycle = Some("01HZZZZZZZZZZZZZZZZZZZZZZZ".parse().unwrap());
        let subject = Some(("user".to_owned(), "42".to_owned()));
        let enrollments = [
            EnrollmentFilter::default(),
            EnrollmentFilter { lifecycle, ..EnrollmentFilter::default() },
            EnrollmentFilter { subject, ..EnrollmentFilter::default() },
            EnrollmentFilter { status: some(), ..EnrollmentFilter::default() },
            EnrollmentFilter { lifecycle, status: some(), ..EnrollmentFilter::default() },
        ];
        let (since, until) = (Some(1), Some(9));
        let executions = [
            ExecutionFilter::default(),
            ExecutionFilter { since, until, ..ExecutionFilter::default() },
            ExecutionFilter { enrollment: some(), until, ..ExecutionFilter::default() },
            ExecutionFilter { lifecycle: some(), until, ..ExecutionFilter::default() },
            ExecutionFilter { stage: some(), until, ..ExecutionFilter::default() },
            ExecutionFilter { outcome: some(), since, ..ExecutionFilter::default() },
        ];
        let pages = pages.chain(enrollments.iter().flat_map(|f| [f.page(""), f.page("y")]));
        let pages = pages.chain(executions.iter().flat_map(|f| [f.page(None), f.page(Some((5, 5)))]));
        let mut conn = empty_store().await;
        let audits = [
            AuditFilter::default(),
            AuditFilter { oldest_first: true, ..AuditFilter::default() },
            AuditFilter { principal: some(), ..AuditFilter::default() },
            AuditFilter { verb: some(), since: since.map(Timestamp), ..AuditFilter::default() },
            AuditFilter { method: some(), until: until.map(Timestamp), ..AuditFilter::default() },
            AuditFilter { server: some(), oldest_first: true, ..AuditFilter::default() },
            AuditFilter { result: some(), ..AuditFilter::default() },
        ];
        let pages = pages.chain(audits.iter().flat_map(|f| [f.page(None), f.page(Some((5, 5)))]));
        for page in pages {
            let plan = plan(&mut conn, &page).await;
            let [line] = &plan[..] else { panic!("{}: sorted or scanned: {plan:?}", page.statement()) };
            assert!(line.contains("USING INDEX") && !line.contains("TEMP"), "{}: {line}", page.statement());
            // These hold nothing but what is asked for, so reading them from their end is finding it.
            let small = line.contains("run_open") || line.contains("run_reconciled");
            assert!(!page.filtered || small || line.starts_with("SEARCH"), "{}: {line}", page.statement());
            let small_wanted = page.sql.contains("stale_at") || page.sql.contains("WHERE reconciled");
            assert_eq!(small, small_wanted, "{}: {line}", page.statement());
        }
    }
}
