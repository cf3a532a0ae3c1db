//! What is due is fired: called by every daemon's tick. Doing it twice changes nothing.

use async_trait::async_trait;

use super::super::{Engine, Refusal};
use super::aim::Aim;
use super::fire::{By, Firing, done_for, is_new};
use super::{Timing, enrolling, left, open_runs};
use crate::domain::schedule::{Entry, Fate, Last, Plan, Schedule, plan};
use crate::domain::time::Timestamp;
use crate::store::{Command, Unit};

struct FireDue {
    engine: Engine,
    /// As it was looked at.
    seen: Schedule,
    plan: Plan,
    aim: Aim,
    admitted: bool,
}

/// The zone of a schedule is not known any more: it comes to rest, and says so.
struct ComeToRest {
    seen: Schedule,
    why: String,
}

struct WorkOff {
    engine: Engine,
    seen: Schedule,
    aim: Aim,
    admitted: bool,
}

impl Engine {
    /// Deals with what of a schedule is due. Answers whether anything was done, and that is false when another daemon was faster.
    pub async fn fire_due(&self, schedule: Schedule, admitted: bool) -> Result<bool, Refusal> {
        let timing = match Timing::of(&schedule) {
            Ok(timing) => timing,
            Err(refusal) => {
                let why = refusal.to_string();
                return self.writer().commit(ComeToRest { seen: schedule, why }).await;
            }
        };
        let plan = plan(&schedule, &timing.cron, &timing.zone, self.clock().now());
        let fires = plan.entries.iter().any(|entry| matches!(entry, Entry::Fire { .. }));
        let aim = if fires { self.aim_at(&schedule.target).await? } else { Aim::default() };
        self.writer().commit(FireDue { engine: self.clone(), seen: schedule, plan, aim, admitted }).await
    }

    /// For whom the occurrence of a schedule would be done that has waited longest, if its turn has come: for whoever fired it by hand, and
    /// else for the schedule's principal.
    pub async fn whose_turn(&self, schedule: &Schedule) -> Result<Option<String>, Refusal> {
        let mut reader = self.store().read().await?;
        for id in &schedule.open_runs {
            if reader.db().run(*id).await?.is_some_and(|run| run.verdict().is_none()) {
                return Ok(None);
            }
        }
        if enrolling::under_way(&mut reader.db(), schedule).await?.is_some() {
            return Ok(None);
        }
        let first = reader.db().waiting_occurrences(schedule.id).await?.into_iter().next();
        Ok(Some(
            first.map_or_else(|| schedule.principal.clone(), |first| done_for(schedule, &first).to_owned()),
        ))
    }

    /// Fires that occurrence. Answers whether anything was done. What waits changes with its schedule's version, so it is the same still.
    pub async fn fire_waiting(&self, schedule: Schedule, admitted: bool) -> Result<bool, Refusal> {
        let aim = self.aim_at(&schedule.target).await?;
        self.writer().commit(WorkOff { engine: self.clone(), seen: schedule, aim, admitted }).await
    }
}

/// The schedule as it is, if it is as it was looked at.
pub(super) async fn unchanged(unit: &mut Unit<'_>, seen: &Schedule) -> Result<Option<Schedule>, Refusal> {
    let found = unit.db().await?.schedule(seen.id).await?;
    Ok(found.filter(|schedule| schedule.version == seen.version))
}

#[async_trait]
impl Command for FireDue {
    type Answer = bool;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, Refusal> {
        let Some(mut schedule) = unchanged(unit, &self.seen).await? else { return Ok(false) };
        let firing = Firing { engine: &self.engine, aim: &self.aim, admitted: self.admitted };
        for entry in &self.plan.entries {
            match *entry {
                Entry::Fire { due, cause } => {
                    if is_new(unit, &schedule, due).await? {
                        let occurrence = firing.fire(unit, &mut schedule, due, By::Time(cause)).await?;
                        unit.insert_occurrence(&occurrence).await?;
                    }
                }
                Entry::Missed { first, last, count } => {
                    if is_new(unit, &schedule, first).await? {
                        let why = "no daemon was there in time".to_owned();
                        let occurrence = left::missed(&schedule, (first, last, count), why, unit.now());
                        unit.insert_occurrence(&occurrence).await?;
                        schedule.last = Some(Last { due: last, fate: occurrence.fate, why: occurrence.why });
                    }
                }
            }
        }
        schedule.next_due = self.plan.next_due;
        unit.update_schedule(&mut schedule).await?;
        Ok(true)
    }
}

#[async_trait]
impl Command for ComeToRest {
    type Answer = bool;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, Refusal> {
        let Some(mut schedule) = unchanged(unit, &self.seen).await? else { return Ok(false) };
        let due = schedule.next_due.unwrap_or(Timestamp(0));
        if is_new(unit, &schedule, due).await? {
            let mut occurrence = left::missed(&schedule, (due, due, 1), self.why.clone(), unit.now());
            occurrence.fate = Fate::Refused;
            unit.insert_occurrence(&occurrence).await?;
        }
        schedule.last = Some(Last { due, fate: Fate::Refused, why: self.why.clone() });
        schedule.next_due = None;
        unit.update_schedule(&mut schedule).await?;
        Ok(true)
    }
}

#[async_trait]
impl Command for WorkOff {
    type Answer = bool;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<bool, Refusal> {
        let Some(mut schedule) = unchanged(unit, &self.seen).await? else { return Ok(false) };
        let under_way = enrolling::under_way(unit.db().await?, &schedule).await?;
        if under_way.is_some() || !open_runs(unit, &schedule).await?.is_empty() {
            return Ok(false);
        }
        let waiting = unit.db().await?.waiting_occurrences(schedule.id).await?;
        schedule.waiting = i64::try_from(waiting.len().saturating_sub(1)).unwrap_or(0);
        if let Some(mut occurrence) = waiting.into_iter().next() {
            let firing = Firing { engine: &self.engine, aim: &self.aim, admitted: self.admitted };
            firing.act(unit, &mut schedule, &mut occurrence).await?;
            unit.end_waiting(&occurrence).await?;
        }
        unit.update_schedule(&mut schedule).await?;
        Ok(true)
    }
}
