//! Fires what is due, once a tick: reads which schedules have something due, and gives each to the engine. Several daemons do the same
//! at the same moment; the store lets one of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::auth::{Gate, Standing, Verb};
use crate::clock::SparseEach;
use crate::domain::schedule::{Chore, Schedule};
use crate::engine::{ChoreEnd, Engine, Refusal};
use crate::store::StoreError;
use crate::store::rows::ScheduleRow;

/// Schedules that one look deals with; the next look goes on.
const LOOKED_AT_MAX: i64 = 64;

/// Does what settled does for itself.
#[async_trait]
pub trait Chores: Send + Sync {
    /// Does it, for about a second. Answers what came of it, or why it failed. `period`: from this time to the next.
    async fn act(&self, chore: Chore, period: Duration) -> Result<ChoreEnd, String>;
}

/// Fires what is due. A stepper.
#[derive(Clone)]
pub struct Firing {
    engine: Engine,
    gate: Gate,
    chores: Arc<dyn Chores>,
    unclear: Arc<SparseEach>,
}

impl Firing {
    /// Fires through this engine what principals ask for that this gate admits. Of whom it cannot tell, that waits for the next look.
    pub fn new(engine: Engine, gate: Gate, chores: Arc<dyn Chores>) -> Self {
        Self { engine, gate, chores, unclear: Arc::default() }
    }

    /// One look. Answers for how many schedules something was done.
    pub async fn step(&self) -> Result<u64, StoreError> {
        let now = self.engine.clock().now();
        let due = self.engine.store().read().await?.db().schedules_due(now, LOOKED_AT_MAX).await?;
        let mut done = 0;
        for row in due {
            done += u64::from(self.fire(row, true).await);
        }
        let mut after = String::new();
        loop {
            let page =
                self.engine.store().read().await?.db().schedules_waiting(&after, LOOKED_AT_MAX).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after.clone_from(&last.id);
            for row in page {
                done += u64::from(self.fire(row, false).await);
            }
        }
    }

    /// Whether anything was done.
    async fn fire(&self, row: ScheduleRow, due: bool) -> bool {
        let name = row.name.clone();
        match self.try_fire(row, due).await {
            Ok(done) => done,
            // Another daemon was faster.
            Err(Refusal::Store(StoreError::Conflict)) => false,
            Err(error) => {
                tracing::warn!(schedule = name, %error, "a schedule could not be fired; it is tried again");
                false
            }
        }
    }

    async fn try_fire(&self, row: ScheduleRow, due: bool) -> Result<bool, Refusal> {
        let schedule: Schedule = row.try_into()?;
        if schedule.chore().is_some() {
            return self.chore(schedule).await;
        }
        let whose =
            if due { Some(schedule.principal.clone()) } else { self.engine.whose_turn(&schedule).await? };
        let Some(principal) = whose else { return Ok(false) };
        let admitted = match self.gate.standing(&principal, Verb::Operate).await {
            // A schedule concerns servers that are found when it is due: it is for those whose role holds on all of them.
            Standing::May(scope) => scope.is_whole(),
            Standing::MayNot => false,
            Standing::Unknown(unclear) => {
                if let Some(more) = self.unclear.tell(&schedule.name, self.engine.clock().monotonic()) {
                    tracing::warn!(schedule = schedule.name, %unclear, more, "a schedule is not fired yet; it is looked at again");
                }
                return Ok(false);
            }
        };
        if due {
            self.engine.fire_due(schedule, admitted).await
        } else {
            self.engine.fire_waiting(schedule, admitted).await
        }
    }

    async fn chore(&self, schedule: Schedule) -> Result<bool, Refusal> {
        let Some(begun) = self.engine.begin_chore(schedule).await? else { return Ok(false) };
        let told = self.chores.act(begun.chore, begun.period).await;
        self.engine.end_chore(begun, told).await?;
        Ok(true)
    }
}
