//! Fires a schedule because somebody asks for it. Its due times stay as they are.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::aim::Aim;
use super::fire::{By, Firing, is_new};
use super::{find_schedule, open_runs};
use crate::domain::schedule::{Cause, Fate, Occurrence, Overlap, Schedule, Target};
use crate::domain::time::Timestamp;
use crate::store::rows::{OccurrenceRow, ScheduleRow};
use crate::store::{Command, Unit, Wants};

struct ByHand {
    engine: Engine,
    asked: Asked,
    schedule: String,
    /// What it was about when it was looked at.
    target: Target,
    aim: Aim,
}

impl Engine {
    /// Fires a schedule now, for whoever asks. A chore is done by a daemon's next tick.
    pub async fn fire_schedule(&self, asked: Asked, schedule: String) -> Result<Answer, Refusal> {
        asked.check()?;
        let found = find_schedule(&mut self.store().read().await?.db(), &schedule).await?;
        let aim = match &found.target {
            Target::Chore(_) => Aim::default(),
            target => self.aim_at(target).await?,
        };
        let by_hand = ByHand { engine: self.clone(), asked, schedule, target: found.target, aim };
        self.writer().commit(by_hand).await
    }
}

#[async_trait]
impl Command for ByHand {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut schedule = find_schedule(unit.db().await?, &self.schedule).await?;
        if schedule.target != self.target {
            return Err(crate::store::StoreError::Conflict.into());
        }
        let due = self.free_time(unit, &schedule).await?;
        let occurrence = match schedule.target {
            Target::Chore(_) => queued(&mut schedule, due, &self.asked.principal),
            Target::Work(_) | Target::Enrolling(_) => self.fire(unit, &mut schedule, due).await?,
        };
        unit.insert_occurrence(&occurrence).await?;
        unit.update_schedule(&mut schedule).await?;
        let answer = Answer {
            schedule: Some(Box::new(ScheduleRow::from(&schedule))),
            occurrence: Some(Box::new(OccurrenceRow::from(&occurrence))),
            ..Answer::default()
        };
        self.asked.keep_with(unit, &answer, schedule.name.clone(), "by hand".to_owned()).await?;
        Ok(answer)
    }
}

impl ByHand {
    async fn fire(
        &self,
        unit: &mut Unit<'_>,
        schedule: &mut Schedule,
        due: Timestamp,
    ) -> Result<Occurrence, Refusal> {
        let open = open_runs(unit, schedule).await?;
        if schedule.overlap == Overlap::Skip
            && let Some(run) = open.first()
        {
            let message = format!(
                "run {} of an earlier occurrence is still open, and the schedule leaves out what overlaps: wait for it, or cancel it \
                 (settlectl run cancel {})",
                run.id, run.id
            );
            return Err(Refusal::NotNow { message, runs: vec![run.id], resources: Vec::new() });
        }
        let firing = Firing { engine: &self.engine, aim: &self.aim, admitted: true };
        firing.fire(unit, schedule, due, By::Hand(&self.asked.principal)).await
    }

    /// Now, or the next microsecond that no occurrence has.
    async fn free_time(&self, unit: &mut Unit<'_>, schedule: &Schedule) -> Result<Timestamp, Refusal> {
        let mut due = unit.now();
        while !is_new(unit, schedule, due).await? {
            due.0 += 1;
        }
        Ok(due)
    }
}

/// A chore that the next tick does.
fn queued(schedule: &mut Schedule, due: Timestamp, who: &str) -> Occurrence {
    schedule.waiting += 1;
    Occurrence {
        schedule: schedule.id,
        due,
        until: due,
        count: 1,
        cause: Cause::ByHand,
        fate: Fate::Waiting,
        why: "waits for a daemon's next tick".to_owned(),
        runs: Vec::new(),
        enrollments: Vec::new(),
        refused: Vec::new(),
        principal: Some(who.to_owned()),
        at: due,
    }
}
