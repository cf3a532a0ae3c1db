//! When driving a run panics: nobody waits for its time to pass.
//!
//! While nothing of the run lives on the server, a panic is a failed attempt. A step that may live there is taken up again at once; when
//! that panics again and again, it is ended on the server, and its exit record ends the run.

use std::sync::Arc;
use std::time::Duration;

use super::remains::complete;
use super::stepping::{CLEARED_AWAY, NO_RECORD};
use super::{Lane, Next, failures};
use crate::domain::run::{Event, Repair, Retry, Run, StepFacts};
use crate::domain::step::{Ended, StepId};
use crate::engine::{Advance, LaneError, Prepared, StepEnd, log};
use crate::remote::StepStatus;

/// Panics over one step, without progress between them, after which it is given up.
const PANICS_MAX: u32 = 3;
/// What people are told.
const FAULT: &str = "a fault in settled: driving it panicked; the daemon's log tells more";

/// Panics that a lane has to deal with.
#[derive(Debug, Default)]
pub(super) struct Panics {
    /// Without progress between them.
    in_a_row: u32,
    /// The last one has not been dealt with yet.
    open: bool,
}

impl Lane {
    /// A step panicked. Nothing is assumed: everything is read again, at once, unless that panics too.
    pub fn broke(&mut self) -> Next {
        tracing::error!(
            server = self.name(),
            "a step of a lane panicked; the lane starts again from what is stored"
        );
        self.panics.in_a_row += 1;
        self.panics.open = true;
        self.work = None;
        self.server = None;
        if self.panics.in_a_row <= PANICS_MAX { Next::Now } else { self.later(self.crew.settings.poll) }
    }

    /// Something of a run went on: panics before it do not count any more.
    pub(super) fn progressed(&mut self) {
        self.panics = Panics::default();
    }

    /// Deals with a panic, if there was one. `None`: the lane goes on as usual.
    pub(super) async fn mend(&mut self) -> Result<Option<Next>, LaneError> {
        if !std::mem::take(&mut self.panics.open) {
            return Ok(None);
        }
        self.rest();
        let Some(run) = self.waiting_run().await? else {
            return Ok(Some(self.later(self.crew.settings.poll)));
        };
        match run.live_step() {
            None => self.end_attempt(&run).await.map(Some),
            Some(_) if self.panics.in_a_row < PANICS_MAX => Ok(None),
            Some(id) => self.abandon(&run, id).await.map(Some),
        }
    }

    async fn end_attempt(&mut self, run: &Run) -> Result<Next, LaneError> {
        let failure = failures::plain(run.id, FAULT.to_owned(), self.crew.engine.clock().now());
        let after = self.tell(run, Event::Broken(failure)).await?;
        log::attempt_ended(&after, run.position().attempt.max(1));
        self.progressed();
        Ok(Next::Now)
    }

    /// Ends a step on the server that cannot be driven, and the run with it when the server has shown how it ended.
    async fn abandon(&mut self, run: &Run, id: StepId) -> Result<Next, LaneError> {
        let (target, epoch) = (self.target()?, u64::try_from(self.hold.epoch).unwrap_or(0));
        let report = match self.crew.acting()?.cancel(&target, id, epoch).await {
            Ok(report) => report,
            Err(error) => {
                self.panics.open = true;
                return self.trouble(error).await;
            }
        };
        let seen = failures::seen(&report.processes, report.scene.as_ref());
        let (truncated, result) = (report.truncated, report.result);
        let reaped = report.status == StepStatus::Reaped;
        let ended = match report.status {
            StepStatus::Ended(ended) => ended,
            // The cancel has left a mark there: a start that is still on its way is refused.
            StepStatus::Absent if self.is_unanswered(id).await? => {
                Ended::Rejected { why: "it had not come to the server".to_owned() }
            }
            StepStatus::Absent => Ended::Lost { why: NO_RECORD.to_owned() },
            StepStatus::Reaped => Ended::Lost { why: CLEARED_AWAY.to_owned() },
            _ => {
                self.panics.open = true;
                return Ok(self.later(self.crew.settings.poll));
            }
        };
        let failure = failures::plain(run.id, FAULT.to_owned(), self.crew.engine.clock().now());
        let prepared = self.crew.engine.prepare_run(run).await.ok();
        let facts = StepFacts {
            next: self.next_timeout(prepared.as_ref(), id).await?,
            retry: Retry::Hopeless,
            retry_on_timeout: false,
            repair: Repair::No,
            outputs: None,
            failure,
            seen: seen.clone(),
        };
        let facts = match &prepared {
            Some(prepared) => complete(facts, prepared, &ended, seen, &result),
            None => facts,
        };
        let end = Some(StepEnd { proven: !reaped, ..failures::end_of(id, &ended, truncated) });
        let advance =
            Advance { run: run.id, event: Event::Abandoned(ended, facts), end, outlines: Arc::from([]) };
        let after = self.crew.engine.advance(self.hold, advance).await?;
        log::attempt_ended(&after, run.position().attempt);
        self.progressed();
        self.reap(id).await;
        Ok(Next::Now)
    }

    /// Timeout of the step after this one. A repair is never the last, and of a run that cannot be planned nobody can say that it was.
    async fn next_timeout(
        &self,
        prepared: Option<&Prepared>,
        id: StepId,
    ) -> Result<Option<Duration>, LaneError> {
        let record = self.crew.engine.store().read().await?.db().step(id).await?;
        if record.is_some_and(|record| record.repair) {
            return Ok(Some(Duration::ZERO));
        }
        Ok(match prepared {
            Some(prepared) => prepared.plan.steps.get(id.step as usize + 1).map(|step| step.timeout),
            None => Some(Duration::ZERO),
        })
    }
}
