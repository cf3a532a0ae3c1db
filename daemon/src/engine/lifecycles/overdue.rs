//! How many enrollments could be moved on now.

use super::super::Engine;
use crate::store::StoreError;

impl Engine {
    /// How many enrollments are due by now, in lifecycles that do not rest.
    pub async fn enrollments_due(&self) -> Result<i64, StoreError> {
        let now = self.clock().now();
        self.store().read().await?.db().due_count(now).await
    }
}
