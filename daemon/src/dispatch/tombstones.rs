//! Which tombstones on a server are not needed any more. The server keeps them, and never asks its clock; the store knows their runs.

use std::time::Duration;

use super::lane::Lane;
use crate::domain::run::RunState;
use crate::domain::step::StepId;
use crate::domain::time::Timestamp;
use crate::engine::LaneError;
use crate::remote::Target;

/// A tombstone keeps a store that was put back from a backup from starting a step again: nobody puts back an older one.
const KEPT: Duration = Duration::from_hours(30 * 24);

impl Lane {
    /// Lets the server forget old tombstones. Best effort: the next claim does what is left.
    pub(super) async fn forget_tombstones(
        &self,
        target: &Target,
        there: Vec<StepId>,
    ) -> Result<(), LaneError> {
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        let mut old = Vec::new();
        for id in there {
            if self.is_long_over(id).await? {
                old.push(id);
            }
        }
        if !old.is_empty()
            && let Err(error) = self.crew.remote.gc(target, epoch, &old).await
        {
            tracing::debug!(server = self.name(), %error, "old tombstones were not forgotten");
        }
        Ok(())
    }

    /// The run was made long ago, and has ended or is forgotten itself.
    async fn is_long_over(&self, id: StepId) -> Result<bool, LaneError> {
        let made = i64::try_from(id.run.0.timestamp_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
        if self.crew.engine.clock().now().since(Timestamp(made)) < KEPT {
            return Ok(false);
        }
        let run = self.crew.engine.store().read().await?.db().run(id.run).await?;
        Ok(run.is_none_or(|run| matches!(run.state, RunState::Completed { .. })))
    }
}
