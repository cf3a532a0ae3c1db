//! A lane that is held by what is not proven to have ended: when that lasts, the server's record tells of it, until the lane is free again.

use super::Lane;
use crate::domain::server::Held;
use crate::domain::step::StepId;
use crate::domain::time::Timestamp;
use crate::engine::LaneError;

impl Lane {
    /// This step has held the lane since then. `processes`: what lives of it, as far as its server could be asked.
    pub(super) async fn held_by(
        &mut self,
        step: StepId,
        since: Timestamp,
        processes: Option<&[String]>,
    ) -> Result<(), LaneError> {
        if self.crew.engine.clock().now().since(since) < self.crew.settings.orphan_alarm {
            return Ok(());
        }
        let told = self.server.as_ref().and_then(|server| server.held.as_ref());
        let known = told.filter(|held| held.step == step);
        if known.is_some() && processes.is_none() {
            return Ok(());
        }
        let since = known.map_or(since, |held| held.since);
        self.set_held(Some(Held { since, step, processes: processes.unwrap_or_default().to_vec() })).await
    }

    /// Nothing holds the lane.
    pub(super) async fn set_free(&mut self) -> Result<(), LaneError> {
        self.set_held(None).await
    }

    async fn set_held(&mut self, held: Option<Held>) -> Result<(), LaneError> {
        let Some(server) = self.server.as_mut().filter(|server| server.held != held) else { return Ok(()) };
        self.crew.engine.set_held(self.hold, held.clone()).await?;
        server.held = held;
        Ok(())
    }
}
