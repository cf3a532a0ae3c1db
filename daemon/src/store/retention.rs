//! Retention: what is old goes away, in small batches.

use super::{StoreError, Unit};
use crate::domain::time::Timestamp;

/// Until when each kind of record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// Completed runs, with their steps and output; and what became of the due times of schedules.
    pub runs: Timestamp,
    /// Transitions.
    pub transitions: Timestamp,
    /// Answers to request ids, and what notifiers were told.
    pub requests: Timestamp,
    /// What was asked by whom, and tokens that were revoked or have expired.
    pub audit: Timestamp,
}

/// Of this kind of record nothing goes.
pub const KEPT: Timestamp = Timestamp(i64::MIN);

impl Unit<'_> {
    /// Removes at most `batch` records of each kind that are older than the horizon; answers how many went.
    pub async fn expire(&mut self, horizon: Horizon, batch: i64) -> Result<u64, StoreError> {
        let mut gone = 0;
        let statements = [
            (
                "DELETE FROM run WHERE id IN (SELECT id FROM run WHERE completed_at IS NOT NULL AND completed_at < $1 \
                 ORDER BY completed_at LIMIT $2)",
                horizon.runs,
            ),
            (
                // Of the oldest numbers, those before the first that is young enough, and never the newest of all: what is kept
                // has no holes and tells where it begins. Looking at those alone costs the same with 10 million rows.
                "DELETE FROM transition WHERE seq < (SELECT COALESCE(MIN(CASE WHEN at >= $1 THEN seq END), MAX(seq)) FROM \
                 (SELECT seq, at FROM transition ORDER BY seq LIMIT $2) AS oldest)",
                horizon.transitions,
            ),
            (
                "DELETE FROM request WHERE (principal, method, request_id) IN \
                 (SELECT principal, method, request_id FROM request WHERE at < $1 ORDER BY at LIMIT $2)",
                horizon.requests,
            ),
            (
                "DELETE FROM occurrence WHERE (schedule_id, due) IN (SELECT schedule_id, due FROM occurrence \
                 WHERE at < $1 AND fate <> 'waiting' ORDER BY at LIMIT $2)",
                horizon.runs,
            ),
            (
                "DELETE FROM delivery WHERE seq IN (SELECT seq FROM delivery WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
                horizon.requests,
            ),
            (
                // For as long as the audit can tell what was done with them.
                "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE COALESCE(revoked_at, expires_at) < $1 \
                 ORDER BY COALESCE(revoked_at, expires_at) LIMIT $2)",
                horizon.audit,
            ),
        ];
        for (sql, before) in statements.into_iter().filter(|(_, before)| *before != KEPT) {
            let rows = on!(self.writing().await?, c => sqlx::query(sql).bind(before.0).bind(batch)
                .execute(c).await.map(|d| d.rows_affected()))?;
            if rows == 0 {
                self.wrote_nothing();
            }
            gone += rows;
        }
        if horizon.audit != KEPT {
            gone += self.expire_audit(horizon.audit, batch).await?;
        }
        self.forget_all();
        Ok(gone)
    }
}
