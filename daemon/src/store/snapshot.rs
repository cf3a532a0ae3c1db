//! What watchers and followers read beside the transitions themselves: open runs, a run's later steps, who stands before whom.
//! Every query rests on an index of what is open, so it costs the same with 1 000 runs behind it and with 10 million.

use super::rows::{RunRow, StepRecord, StepRow};
use super::{Db, StoreError};
use crate::domain::id::{RunId, ServerId};

impl Db<'_> {
    /// Open runs in order of the time by which they settle, after (`settles_by`, `id`), at most `limit`.
    ///
    /// A run whose time moves between two pages may be missed or met twice; that move is a transition, so whoever reads the
    /// transitions too misses nothing.
    pub async fn open_runs_after(
        &mut self,
        server: Option<&str>,
        (settles_by, id): (i64, &str),
        limit: i64,
    ) -> Result<Vec<RunRow>, StoreError> {
        let sql = "SELECT * FROM run WHERE settles_by IS NOT NULL AND (settles_by > $1 OR (settles_by = $1 AND id > $2)) \
                   AND ($3 = '' OR server_id = $3) ORDER BY settles_by, id LIMIT $4";
        let server = server.unwrap_or_default();
        Ok(
            on!(self, c => sqlx::query_as(sql).bind(settles_by).bind(id).bind(server).bind(limit).fetch_all(c).await)?,
        )
    }

    /// Steps of a run from its `no`-th on, in order, at most `limit`.
    pub async fn steps_from(
        &mut self,
        run: RunId,
        no: i64,
        limit: i64,
    ) -> Result<Vec<StepRecord>, StoreError> {
        let sql = "SELECT * FROM step WHERE run_id = $1 AND no >= $2 ORDER BY no LIMIT $3";
        let rows: Vec<StepRow> = on!(self, c => sqlx::query_as(sql).bind(run.to_string()).bind(no).bind(limit).fetch_all(c).await)?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    /// Ids of the queued runs of a server in order, exclusive ones or the others, at most `limit`.
    pub async fn queued_ids(
        &mut self,
        server: ServerId,
        exclusive: bool,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM run WHERE server_id = $1 AND state = 'queued' AND exclusive = $2 \
                   ORDER BY priority DESC, queue_no LIMIT $3";
        Ok(
            on!(self, c => sqlx::query_scalar(sql).bind(server.to_string()).bind(exclusive).bind(limit).fetch_all(c).await)?,
        )
    }

    /// Id of the exclusive run in progress on a server.
    pub async fn running_exclusive(&mut self, server: ServerId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT id FROM run WHERE server_id = $1 AND state = 'running' AND exclusive";
        Ok(on!(self, c => sqlx::query_scalar(sql).bind(server.to_string()).fetch_optional(c).await)?)
    }
}
