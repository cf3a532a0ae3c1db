//! Pauses a schedule: nothing is due while that lasts, and nothing is made up for afterwards. Ends its pause.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use super::{edit, find_schedule, left};
use crate::store::rows::ScheduleRow;
use crate::store::{Command, Unit, Wants};

struct Pause {
    asked: Asked,
    schedule: String,
    paused: bool,
}

impl Engine {
    /// Pauses a schedule. Runs that it has made go on.
    pub async fn pause_schedule(&self, asked: Asked, schedule: String) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(Pause { asked, schedule, paused: true }).await
    }

    /// Ends the pause of a schedule.
    pub async fn resume_schedule(&self, asked: Asked, schedule: String) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(Pause { asked, schedule, paused: false }).await
    }
}

#[async_trait]
impl Command for Pause {
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
        edit::refuse_on_reconcile(&schedule, "paused")?;
        if schedule.paused != self.paused {
            let before = schedule.clone();
            schedule.paused = self.paused;
            // One whose end has passed is resumed all the same; it is just never due again.
            schedule.next_due =
                if self.paused { None } else { edit::first_due(&schedule, unit.now()).unwrap_or(None) };
            if self.paused {
                left::behind(unit, &before, "the schedule was paused before it was looked at").await?;
                left::waiting(unit, &mut schedule, "the schedule was paused").await?;
            }
            unit.update_schedule(&mut schedule).await?;
        }
        let answer = Answer { schedule: Some(Box::new(ScheduleRow::from(&schedule))), ..Answer::default() };
        self.asked.keep(unit, &answer, schedule.name.clone()).await?;
        Ok(answer)
    }
}
