//! When a server has other content under the id of a try of ours: a copy of the store has used the same ids, or an earlier version of
//! settled planned the try otherwise.
//!
//! It may be healthy, and even ours. So it is asked for and waited for; nothing is judged before it has ended, or its time has passed.

use std::time::Duration;

use super::stepping::{CLEARED_AWAY, LOST_SUPERVISOR};
use super::{Lane, Next, failures};
use crate::domain::run::Run;
use crate::domain::step::StepId;
use crate::domain::waiting::WaitReason;
use crate::engine::LaneError;
use crate::remote::{Report, StepStatus};

/// Where no step has output: what another content writes is not shown as ours.
const BEYOND_ALL_OUTPUT: u64 = 1 << 30;

impl Lane {
    /// The start of a try was refused, because the server has other content under its id.
    pub(super) async fn contested(&mut self, run: &Run, id: StepId) -> Result<Next, LaneError> {
        let target = self.target()?;
        match self.crew.remote.attach(&target, id, BEYOND_ALL_OUTPUT, Duration::ZERO).await {
            Ok(news) => {
                self.reached().await?;
                self.judge_contested(run, id, &news.report).await
            }
            Err(error) => self.trouble(error).await,
        }
    }

    /// How it ended proves nothing of what was to be done; that it ended is proven.
    async fn judge_contested(&mut self, run: &Run, id: StepId, report: &Report) -> Result<Next, LaneError> {
        let other = format!(
            "the server has step {id} with other content: a copy of the store or an earlier version of settled \
             has used the same id"
        );
        let seen = failures::seen(&report.processes, report.scene.as_ref());
        match report.status {
            StepStatus::Ended(_) => self.judge_lost(run, id, other, seen, true).await,
            StepStatus::Reaped => self.judge_lost(run, id, CLEARED_AWAY.to_owned(), seen, false).await,
            StepStatus::Orphaned => self.stuck(run, id, LOST_SUPERVISOR, &report.processes).await,
            _ => {
                let retry = self.retry(Some(run), WaitReason::Unresolved);
                let at = self.crew.engine.clock().now() + retry;
                let who = format!(
                    "{other}; it is waited for until it has ended: `settlectl run cancel {}` ends it",
                    run.id
                );
                self.rest();
                self.waits(run, WaitReason::Unresolved, who, Some(at)).await?;
                Ok(self.later(retry))
            }
        }
    }
}
