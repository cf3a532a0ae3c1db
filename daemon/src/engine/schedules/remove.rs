//! Removes a schedule. Runs that it has made go on, and what became of its due times stays until it is old.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::{find_schedule, left};
use crate::store::rows::ScheduleRow;
use crate::store::{Command, Unit, Wants};

struct Remove {
    asked: Asked,
    schedule: String,
}

impl Engine {
    /// Removes a schedule.
    pub async fn remove_schedule(&self, asked: Asked, schedule: String) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(Remove { asked, schedule }).await
    }
}

#[async_trait]
impl Command for Remove {
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
        if schedule.chore().is_some() {
            let name = &schedule.name;
            return Err(Refusal::not_now(format!(
                "{name} is built in and cannot be removed: pause it instead (settlectl schedule pause {name})"
            )));
        }
        left::behind(unit, &schedule, "the schedule was removed before it was looked at").await?;
        left::waiting(unit, &mut schedule, "the schedule was removed").await?;
        unit.delete_schedule(&mut schedule).await?;
        let answer = Answer { schedule: Some(Box::new(ScheduleRow::from(&schedule))), ..Answer::default() };
        self.asked.keep(unit, &answer, schedule.name.clone()).await?;
        Ok(answer)
    }
}
