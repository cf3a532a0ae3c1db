//! A new schedule.

use std::time::Duration;

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal, valid};
use super::edit::{self, EditSchedule};
use super::target;
use crate::domain::id::ScheduleId;
use crate::domain::schedule::{Missed, Overlap, Schedule, Target};
use crate::store::rows::ScheduleRow;
use crate::store::{Command, StoreError, Unit, Wants};

/// What names of built-in schedules begin with.
const BUILT_IN: &str = "settled.";

struct Add {
    engine: Engine,
    asked: Asked,
    id: ScheduleId,
    name: String,
    target: Target,
    settings: EditSchedule,
}

impl Engine {
    /// Makes a schedule: `settings` say what is not as by default. Its runs have the principal that made it.
    pub async fn add_schedule(
        &self,
        asked: Asked,
        name: String,
        settings: EditSchedule,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        let mut problems = valid::Problems::default();
        problems.check("name", valid::resource_name(&name));
        if name.starts_with(BUILT_IN) {
            problems
                .add("name", format!("names that begin with `{BUILT_IN}` are those of built-in schedules"));
        }
        problems.into_result()?;
        let settings = EditSchedule { cron: Some(settings.cron.unwrap_or_default()), ..settings };
        settings.check()?;
        let Some(target) = settings.target.clone() else {
            return Err(Refusal::field("target", "is missing: say what is to be done"));
        };
        let id = ScheduleId(self.clock().ulid());
        self.writer().commit(Add { engine: self.clone(), asked, id, name, target, settings }).await
    }
}

#[async_trait]
impl Command for Add {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut schedule = self.schedule(unit);
        self.settings.apply(&mut schedule)?;
        target::check_target(&self.engine, unit, &self.target).await?;
        schedule.next_due = edit::first_due(&schedule, unit.now())?;
        match unit.insert_schedule(&mut schedule).await {
            Err(StoreError::Duplicate(_)) => return Err(self.taken(unit).await?),
            other => other?,
        }
        let answer = Answer { schedule: Some(Box::new(ScheduleRow::from(&schedule))), ..Answer::default() };
        self.asked.keep_with(unit, &answer, self.name.clone(), schedule.cron.clone()).await?;
        Ok(answer)
    }
}

impl Add {
    fn schedule(&self, unit: &Unit<'_>) -> Schedule {
        let now = unit.now();
        Schedule {
            id: self.id,
            name: self.name.clone(),
            cron: String::new(),
            time_zone: "UTC".to_owned(),
            target: self.target.clone(),
            overlap: Overlap::Skip,
            missed: Missed::None,
            missed_within: None,
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
            paused: false,
            principal: self.asked.principal.clone(),
            next_due: None,
            open_runs: Vec::new(),
            open_enrollments: Vec::new(),
            waiting: 0,
            last: None,
            created_at: now,
            updated_at: now,
            version: 1,
            seq: 0,
        }
    }

    async fn taken(&self, unit: &mut Unit<'_>) -> Result<Refusal, Refusal> {
        let found = unit.db().await?.schedule_by_name(&self.name).await?;
        let message = format!(
            "there is a schedule `{}` already: change it with `settlectl schedule edit`, or give another name",
            self.name
        );
        let id = found.map_or_else(String::new, |found| found.id.to_string());
        Ok(Refusal::Exists { what: "schedule", id, message })
    }
}
