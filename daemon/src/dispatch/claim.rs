//! What a lane does first on a server: it claims its epoch there, clears away what has ended, and looks after what is not proven to have.

use super::takeover::Halt;
use super::{Lane, Next, failures};
use crate::domain::run::Run;
use crate::domain::step::{StepId, StepState};
use crate::domain::time::Timestamp;
use crate::domain::waiting::{WaitReason, pause};
use crate::engine::LaneError;
use crate::remote::{Claimed, Report, StepStatus, Target};
use crate::store::lanes::UnresolvedRow;

impl Lane {
    /// Tells the server our epoch, and clears away what the store knows to have ended.
    pub(super) async fn claim(&mut self) -> Result<Next, LaneError> {
        let target = self.target()?;
        match self.claim_epoch(&target).await {
            Ok(found) => {
                self.claimed = true;
                self.reached().await?;
                self.give_up(&target).await?;
                self.clear_away(found.steps).await?;
                self.forget_tombstones(&target, found.tombstones).await?;
                Ok(Next::Now)
            }
            Err(Halt::Remote(error)) => self.trouble(error).await,
            Err(Halt::Lane(error)) => Err(error),
        }
    }

    async fn claim_epoch(&self, target: &Target) -> Result<Claimed, Halt> {
        if let Some(how) = self.crew.engine.takeover(self.hold.server).await? {
            return self.take_over(target, how).await;
        }
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        Ok(self.crew.acting()?.claim(target, self.crew.installation, epoch).await?)
    }

    /// Gives up on the server what an operator has given up here. What is left of it is looked at before the next run starts.
    async fn give_up(&mut self, target: &Target) -> Result<(), LaneError> {
        let open = self.crew.engine.store().read().await?.db().unresolved(self.hold.server).await?;
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        for row in open.iter().filter(|row| row.abandon) {
            let id = step_of(row)?;
            match self.crew.acting()?.abandon(target, id, epoch).await {
                Ok(report) if matches!(report.status, StepStatus::Ended(_)) => {
                    self.resolved(id, &report).await?;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(run = %id.run, step = %id, server = self.name(), %error, "a step could not be given up on its server; it is tried again");
                }
            }
        }
        Ok(())
    }

    /// Clears ended steps away on the server, and takes resolved ones off the list. Best effort: the next claim does what is left.
    async fn clear_away(&self, listed: Vec<(StepId, Report)>) -> Result<(), LaneError> {
        let open = self.crew.engine.store().read().await?.db().unresolved(self.hold.server).await?;
        for (id, report) in listed {
            let record = self.crew.engine.store().read().await?.db().step(id).await?;
            match record {
                None => {
                    tracing::warn!(run = %id.run, step = %id, server = self.name(), "the server has a step that this store does not know; it is left alone");
                }
                Some(record) if !matches!(record.state, StepState::Starting | StepState::Running) => {
                    let unresolved = open.iter().any(|row| row.step_id == id.to_string());
                    if unresolved && matches!(report.status, StepStatus::Ended(_)) {
                        // What its server knows of it goes away with it.
                        self.resolved(id, &report).await?;
                    }
                    self.reap(id).await;
                }
                Some(_) => {
                    tracing::debug!(run = %id.run, step = %id, server = self.name(), status = ?report.status, "a step is found on its server");
                }
            }
        }
        Ok(())
    }

    /// A step that was not proven to have ended has: its lane is free of it, and what the server showed is kept with it.
    async fn resolved(&self, id: StepId, report: &Report) -> Result<(), LaneError> {
        let late = failures::late(id, report, self.crew.engine.clock().now());
        self.crew.engine.step_resolved(self.hold, id, late).await
    }

    /// Clears a try away on the server. What fails here is done at the next claim.
    pub(super) async fn reap(&self, id: StepId) {
        let (Ok(target), Ok(remote)) = (self.target(), self.crew.acting()) else { return };
        let epoch = u64::try_from(self.hold.epoch).unwrap_or(0);
        if let Err(error) = remote.reap(&target, id, epoch).await {
            tracing::debug!(run = %id.run, step = %id, server = self.name(), %error, "a step could not be cleared away on its server; it is done at the next claim");
        }
    }

    /// Nothing exclusive starts while an earlier step is not proven to have ended. `run`: the one that waits for that, if one does.
    pub(super) async fn unresolved(
        &mut self,
        run: Option<&Run>,
        open: &[UnresolvedRow],
    ) -> Result<Option<Next>, LaneError> {
        let Some(first) = open.first() else { return Ok(None) };
        let (id, since) = (step_of(first)?, Timestamp(first.since));
        match self.end_unresolved(id, first.abandon).await {
            Ok(report) => match &report.status {
                StepStatus::Ended(_) | StepStatus::Absent | StepStatus::Reaped => {
                    self.resolved(id, &report).await?;
                    self.reap(id).await;
                    Ok(Some(Next::Now))
                }
                _ => {
                    self.held_by(id, since, Some(&report.processes)).await?;
                    self.wait_unresolved(run, id, since, &report).await.map(Some)
                }
            },
            Err(Halt::Remote(error)) => self.trouble(error).await.map(Some),
            Err(Halt::Lane(error)) => Err(error),
        }
    }

    /// Its time has passed: it is ended if it still lives, and a start that is still on its way is refused there.
    async fn end_unresolved(&self, id: StepId, abandon: bool) -> Result<Report, Halt> {
        let (target, epoch) = (self.target()?, u64::try_from(self.hold.epoch).unwrap_or(0));
        if abandon {
            self.crew.acting()?.abandon(&target, id, epoch).await?;
        }
        Ok(self.crew.acting()?.cancel(&target, id, epoch).await?)
    }

    async fn wait_unresolved(
        &mut self,
        run: Option<&Run>,
        id: StepId,
        since: Timestamp,
        report: &Report,
    ) -> Result<Next, LaneError> {
        let now = self.crew.engine.clock().now();
        let retry = pause(self.crew.settings.unreachable_retry, now.since(since));
        self.rest();
        if let Some(run) = run {
            let what = format!("step {id} of an earlier run is not proven to have ended: {}", lives(report));
            let who = unlockable(&what, &run.server_name);
            self.waits(run, WaitReason::Unresolved, who, Some(now + retry)).await?;
        }
        Ok(self.later(retry))
    }
}

/// What is known of a step that has not ended.
fn lives(report: &Report) -> String {
    let how = match report.status {
        StepStatus::Orphaned => "its supervisor is dead",
        _ => "it is being ended on the server",
    };
    let processes = report.processes.join(", ");
    if processes.is_empty() {
        how.to_owned()
    } else {
        format!("{how}, and processes of it live: {processes}")
    }
}

/// The same, with what an operator can do who knows better.
pub(super) fn unlockable(what: &str, server: &str) -> String {
    format!(
        "{what}; if you know that nothing of it does harm, run `settlectl server unlock {server} --reason TEXT`"
    )
}

pub(super) fn step_of(row: &UnresolvedRow) -> Result<StepId, LaneError> {
    row.step_id.parse().map_err(|_| LaneError::Fault(format!("the store holds step id `{}`", row.step_id)))
}
