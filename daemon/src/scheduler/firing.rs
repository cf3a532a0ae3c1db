//! Fires what is due, once a tick: reads which schedules have something due, and gives each to the engine. Several daemons do the same
//! at the same moment; the store lets one of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::auth::{Gate, Standing, Verb};
use crate::clock::SparseEach;
use crate::domain::schedule::{Chore, Schedule};
use crate::engine::{ChoreEnd, Engine, Refusal};
use crate::store::StoreError;
use crate::store::rows::ScheduleRow;

/// Schedules that are read at once, and for which one look does something; the next look goes on.
const LOOKED_AT_MAX: i64 = 64;

/// Principals of whom nobody could tell in this look what they may do: they are not asked about again in it.
type Unclear = HashSet<String>;

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
        let mut unclear = Unclear::new();
        let mut done = self.fire_due(&mut unclear).await?;
        let mut after = String::new();
        loop {
            let page =
                self.engine.store().read().await?.db().schedules_waiting(&after, LOOKED_AT_MAX).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after.clone_from(&last.id);
            for row in page {
                done += u64::from(self.fire(row, false, &mut unclear).await);
            }
        }
    }

    /// Fires what is due, each schedule once. What cannot be fired now keeps nobody from what comes after it.
    async fn fire_due(&self, unclear: &mut Unclear) -> Result<u64, StoreError> {
        let now = self.engine.clock().now();
        let (mut done, mut after, mut id) = (0, i64::MIN, String::new());
        let mut looked_at = HashSet::new();
        while done < LOOKED_AT_MAX.unsigned_abs() {
            let mut reader = self.engine.store().read().await?;
            let page = reader.db().schedules_due(now, (after, &id), LOOKED_AT_MAX).await?;
            drop(reader);
            let Some(last) = page.last() else { break };
            (after, id) = (last.fire_at.unwrap_or(i64::MAX), last.id.clone());
            for row in page {
                // One that has more to do is due again at once: that is for the next look.
                if looked_at.insert(row.id.clone()) {
                    done += u64::from(self.fire(row, true, unclear).await);
                }
            }
        }
        Ok(done)
    }

    /// Whether anything was done.
    async fn fire(&self, row: ScheduleRow, due: bool, unclear: &mut Unclear) -> bool {
        let name = row.name.clone();
        match self.try_fire(row, due, unclear).await {
            Ok(done) => done,
            // Another daemon was faster.
            Err(Refusal::Store(StoreError::Conflict)) => false,
            Err(error) => {
                tracing::warn!(schedule = name, %error, "a schedule could not be fired; it is tried again");
                false
            }
        }
    }

    async fn try_fire(&self, row: ScheduleRow, due: bool, unclear: &mut Unclear) -> Result<bool, Refusal> {
        let schedule: Schedule = row.try_into()?;
        if schedule.chore().is_some() {
            return self.chore(schedule).await;
        }
        let whose =
            if due { Some(schedule.principal.clone()) } else { self.engine.whose_turn(&schedule).await? };
        let Some(principal) = whose.filter(|principal| !unclear.contains(principal)) else {
            return Ok(false);
        };
        let admitted = match self.gate.standing(&principal, Verb::Operate).await {
            // A schedule concerns servers that are found when it is due: it is for those whose role holds on all of them.
            Standing::May(scope) => scope.is_whole(),
            Standing::MayNot => false,
            Standing::Unknown(why) => {
                if let Some(more) = self.unclear.tell(&schedule.name, self.engine.clock().monotonic()) {
                    tracing::warn!(schedule = schedule.name, unclear = %why, more, "a schedule is not fired yet; it is looked at again");
                }
                unclear.insert(principal);
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
