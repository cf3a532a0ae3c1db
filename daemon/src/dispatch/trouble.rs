//! When a server does not answer as asked: what that means for the server's reach and for the run for whose sake it was asked.

use std::time::Duration;

use super::{Lane, Next};
use crate::domain::run::{Event, Run};
use crate::domain::server::Reach;
use crate::domain::step::{StepId, StepState};
use crate::domain::waiting::{WaitReason, pause};
use crate::engine::LaneError;
use crate::remote::RemoteError;

impl Lane {
    /// The server answered: if it was unreachable before, that is over.
    pub(super) async fn reached(&mut self) -> Result<(), LaneError> {
        if let Some(server) = self.server.as_mut().filter(|s| s.reach == Reach::Unreachable) {
            server.reach = Reach::Ok;
            self.crew.stands(self.hold, &self.name(), Reach::Ok, "").await?;
        }
        Ok(())
    }

    /// The server did not answer as asked.
    pub(super) async fn trouble(&mut self, error: RemoteError) -> Result<Next, LaneError> {
        let waiting = self.waiting_run().await?;
        match error {
            RemoteError::Unreachable(message) | RemoteError::Protocol(message) => {
                self.permit = None;
                let retry = self.retry(waiting.as_ref(), WaitReason::Unreachable);
                self.crew.stands(self.hold, &self.name(), Reach::Unreachable, &message).await?;
                // Read anew before the next try: someone may have changed the way to it, or a jump host on the way.
                self.server = None;
                if let Some(run) = waiting {
                    self.unreached(&run, message, retry).await?;
                }
                Ok(self.later(retry))
            }
            RemoteError::Refused(message) => {
                let paused = self.server.as_ref().is_some_and(|server| server.reach == Reach::Paused);
                self.crew.stands(self.hold, &self.name(), Reach::Refused, &message).await?;
                // A paused server stays paused, whatever it says: its lane, given back, would be taken again at once.
                let retry = paused.then_some(self.crew.settings.unreachable_retry);
                if let Some(run) = waiting {
                    let next_try = retry.map(|retry| self.crew.engine.clock().now() + retry);
                    self.waits(&run, WaitReason::Refused, message, next_try).await?;
                }
                let Some(retry) = retry else { return self.give_back().await };
                (self.permit, self.server) = (None, None);
                Ok(self.later(retry))
            }
            RemoteError::Fenced { highest } => {
                // Whoever still has the lane in the store outbids; whoever has lost it is told so here.
                let to = i64::try_from(highest).unwrap_or(i64::MAX - 1).saturating_add(1);
                self.hold = self.crew.engine.raise_epoch(self.hold, to.max(self.hold.epoch + 1)).await?;
                self.claimed = false;
                self.work = None;
                Ok(self.later(self.crew.settings.poll))
            }
            error @ (RemoteError::Unsendable(_) | RemoteError::Conflict(_)) => {
                Err(LaneError::Fault(error.to_string()))
            }
        }
    }

    /// When what a run waits for is looked at again: the longer it waits, the later. Without a run it is the server that is away.
    pub(super) fn retry(&self, run: Option<&Run>, reason: WaitReason) -> Duration {
        let now = self.crew.engine.clock().now();
        let away =
            self.server.as_ref().filter(|s| s.reach == Reach::Unreachable).map_or(now, |s| s.updated_at);
        let since = run.map_or(away, |run| run.waiting_since(reason, now));
        pause(self.crew.settings.unreachable_retry, now.since(since))
    }

    /// Stores that a run waits for its server. As long as the start of its try was not answered, its deadline moves with the wait.
    async fn unreached(&self, run: &Run, message: String, retry: Duration) -> Result<(), LaneError> {
        let next_try = self.crew.engine.clock().now() + retry;
        match self.unanswered(run).await? {
            Some(timeout) => {
                self.tell(run, Event::Unanswered { who: message, next_try, timeout }).await.map(drop)
            }
            None => self.waits(run, WaitReason::Unreachable, message, Some(next_try)).await,
        }
    }

    /// Whether the server has never answered a start of this try.
    pub(super) async fn is_unanswered(&self, id: StepId) -> Result<bool, LaneError> {
        let record = self.crew.engine.store().read().await?.db().step(id).await?;
        Ok(record.is_some_and(|record| record.state == StepState::Starting))
    }

    /// Timeout of the try whose start was not answered yet, if the run has one.
    async fn unanswered(&self, run: &Run) -> Result<Option<Duration>, LaneError> {
        let Some(id) = run.live_step() else { return Ok(None) };
        if !self.is_unanswered(id).await? {
            return Ok(None);
        }
        match &self.work {
            Some(work) => Ok(Some(work.step(id)?.timeout)),
            // A run that cannot be planned any more keeps its deadline.
            None => Ok(self.crew.engine.step_timeout(run, id).await.ok()),
        }
    }
}
