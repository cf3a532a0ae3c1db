//! How many enrollments could be moved on now.

use super::super::Engine;
use crate::store::StoreError;

/// Lifecycles that are looked at: all that there can be.
const LIFECYCLES: i64 = 1_000;
/// So many are counted of each lifecycle; more are just many.
const COUNTED_MAX: i64 = 1_000;

impl Engine {
    /// How many enrollments are due by now, in lifecycles that do not rest.
    pub async fn enrollments_due(&self) -> Result<usize, StoreError> {
        let now = self.clock().now();
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let mut due = 0;
        for lifecycle in db.lifecycles("", LIFECYCLES).await? {
            if let Some(until) = lifecycle.works_until(now) {
                due += db.due(lifecycle.id, until, COUNTED_MAX).await?.len();
            }
        }
        Ok(due)
    }
}
