//! Chores: what settled does for itself. The store says who does one and when; what it is stands elsewhere.
//!
//! A chore that found nothing to do leaves no line: its schedule just goes on to its next time. One that did something, failed, or was
//! asked for by hand has its line in the history.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Engine, Refusal};
use super::due::unchanged;
use super::fire::is_new;
use super::{Timing, left};
use crate::domain::id::ScheduleId;
use crate::domain::schedule::{Cause, Chore, Entry, Fate, Last, Occurrence, Plan, Schedule, plan};
use crate::domain::time::Timestamp;
use crate::store::{Command, StoreError, Unit};

/// A chore that this daemon is to do now.
#[derive(Debug, Clone)]
pub struct BegunChore {
    /// What.
    pub chore: Chore,
    /// From its due time to the next.
    pub period: Duration,
    schedule: ScheduleId,
    due: Timestamp,
    by_hand: bool,
}

/// What came of a chore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoreEnd {
    /// What there is to tell; empty: nothing was done.
    pub told: String,
    /// Its time was up before it was done: it goes on with the next tick.
    pub more: bool,
}

struct Begin {
    seen: Schedule,
    chore: Chore,
    plan: Plan,
}

struct End {
    begun: BegunChore,
    fate: Fate,
    why: String,
    more: bool,
}

impl Engine {
    /// Begins a chore that is due or was asked for; `None`: another daemon does it.
    pub async fn begin_chore(&self, schedule: Schedule) -> Result<Option<BegunChore>, Refusal> {
        let Some(chore) = schedule.chore() else { return Ok(None) };
        let timing = Timing::of(&schedule)?;
        let plan = plan(&schedule, &timing.cron, &timing.zone, self.clock().now());
        self.writer().commit(Begin { seen: schedule, chore, plan }).await
    }

    /// Ends a chore: what came of it, or why it failed. One that has nothing to tell and that nobody asked for leaves no trace.
    pub async fn end_chore(
        &self,
        begun: BegunChore,
        end: Result<ChoreEnd, String>,
    ) -> Result<(), StoreError> {
        let more = end.as_ref().is_ok_and(|end| end.more);
        let (fate, why) = match end.map(|end| end.told) {
            Ok(told) if told.is_empty() && !begun.by_hand && !more => return Ok(()),
            Ok(told) if told.is_empty() => (Fate::Fired, "there was nothing to do".to_owned()),
            Ok(told) => (Fate::Fired, told),
            Err(why) => (Fate::Refused, why),
        };
        self.writer().commit(End { begun, fate, why, more }).await
    }
}

#[async_trait]
impl Command for Begin {
    type Answer = Option<BegunChore>;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Option<BegunChore>, Refusal> {
        let Some(mut schedule) = unchanged(unit, &self.seen).await? else { return Ok(None) };
        let period = |due: Timestamp| {
            let next = self.plan.next_due.unwrap_or(unit.now());
            next.since(due).min(next.since(unit.now()).max(Duration::from_secs(1)))
        };
        if let [Entry::Fire { due, .. }] = self.plan.entries[..] {
            let begun = BegunChore {
                chore: self.chore,
                period: period(due),
                schedule: schedule.id,
                due,
                by_hand: false,
            };
            schedule.next_due = self.plan.next_due;
            unit.move_schedule(&mut schedule).await?;
            return Ok(Some(begun));
        }
        let waiting = unit.db().await?.waiting_occurrences(schedule.id).await?;
        schedule.waiting = i64::try_from(waiting.len().saturating_sub(1)).unwrap_or(0);
        let Some(mut occurrence) = waiting.into_iter().next() else { return Ok(None) };
        (occurrence.fate, occurrence.at) = (Fate::Fired, unit.now());
        "it was begun".clone_into(&mut occurrence.why);
        unit.end_waiting(&occurrence).await?;
        unit.update_schedule(&mut schedule).await?;
        let (due, period) = (occurrence.due, Duration::from_secs(60));
        Ok(Some(BegunChore { chore: self.chore, period, schedule: schedule.id, due, by_hand: true }))
    }
}

#[async_trait]
impl Command for End {
    type Answer = ();
    type Refusal = StoreError;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<(), StoreError> {
        let Some(mut schedule) = unit.db().await?.schedule(self.begun.schedule).await? else { return Ok(()) };
        let due = self.begun.due;
        let occurrence = Occurrence {
            cause: if self.begun.by_hand { Cause::ByHand } else { Cause::Due },
            fate: self.fate,
            ..left::missed(&schedule, (due, due, 1), self.why.clone(), unit.now())
        };
        if is_new(unit, &schedule, due).await? {
            unit.insert_occurrence(&occurrence).await?;
        } else {
            unit.complete_occurrence(&occurrence).await?;
        }
        schedule.last = Some(Last { due, fate: occurrence.fate, why: occurrence.why });
        if self.more && !schedule.paused {
            schedule.next_due = Some(unit.now());
        }
        unit.update_schedule(&mut schedule).await
    }
}
