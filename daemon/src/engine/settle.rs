//! What time brings to an end: runs past their limit, records past their age. Called by the reconciler, writes like anyone else.

use async_trait::async_trait;

use super::lane::{close_unsent, end_step};
use super::{Engine, LaneError, StepEnd};
use crate::domain::failure::Failure;
use crate::domain::id::RunId;
use crate::domain::run::{Event, Run, RunState};
use crate::domain::step::StepState;
use crate::domain::time::Timestamp;
use crate::store::retention::Horizon;
use crate::store::{Command, StoreError, Unit};

/// What became of a run that looked overdue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It was settled now, like this.
    Now(Box<Run>),
    /// It is not overdue any more.
    NotNeeded,
}

struct Settle {
    engine: Engine,
    run: RunId,
    why: &'static str,
}

#[async_trait]
impl Command for Settle {
    type Answer = Settled;
    type Refusal = LaneError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Settled, LaneError> {
        let Some(run) = unit.run(self.run).await? else { return Ok(Settled::NotNeeded) };
        let now = unit.now();
        if run.settles_by().is_none_or(|by| by >= now) {
            return Ok(Settled::NotNeeded);
        }
        let before = run.clone();
        let failure = overdue(&run, self.why, now);
        let mut run = run.apply(Event::Overdue(failure), now, self.engine.timings())?;
        self.engine.write_run(unit, &mut run, None).await?;
        match before.live_step() {
            Some(id) if run.has_steps() => {
                let why = "settled by time, without proof that it has ended".to_owned();
                let state = StepState::Lost;
                let end = StepEnd { id, state, exit_code: None, why, truncated: false, proven: false };
                end_step(unit, &run, &end).await?;
            }
            _ => close_unsent(unit, &before).await?,
        }
        self.engine.look_after(unit, &run).await?;
        unit.call(run.server);
        Ok(Settled::Now(Box::new(run)))
    }
}

fn overdue(run: &Run, why: &str, at: Timestamp) -> Failure {
    let waited = run.waiting().map(|w| format!("; it waited: {} ({})", w.reason, w.who)).unwrap_or_default();
    let message = match &run.state {
        RunState::Queued { .. } => format!("it was never started within its limit{waited}"),
        _ if run.live_step().is_some() && run.has_steps() => {
            format!("nobody can prove how it ended: no exit record could be read in time ({why}){waited}")
        }
        _ => format!("it could not go on within its limit{waited}"),
    };
    Failure { step: String::new(), exit_code: None, message, last_lines: String::new(), run: run.id, at }
}

struct Expire {
    horizon: Horizon,
    batch: i64,
}

#[async_trait]
impl Command for Expire {
    type Answer = u64;
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<u64, StoreError> {
        unit.expire(self.horizon, self.batch).await
    }
}

impl Engine {
    /// Settles a run whose time has passed; looks again before it does.
    pub async fn settle_overdue(&self, run: RunId) -> Result<Settled, LaneError> {
        self.writer()
            .commit(Settle {
                engine: self.clone(),
                run,
                why: "its deadline and the margin after it have passed",
            })
            .await
    }

    /// Removes what is older than the horizon, at most `batch` of each kind; answers how many went.
    pub async fn expire(&self, horizon: Horizon, batch: i64) -> Result<u64, StoreError> {
        self.writer().commit(Expire { horizon, batch }).await
    }
}
