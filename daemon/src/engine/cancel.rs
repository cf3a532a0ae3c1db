//! Cancel: a queued run ends at once, a running one when its server has shown that the process group ended (P9).

use async_trait::async_trait;

use super::lane::close_unsent;
use super::{Answer, Asked, Engine, Refusal};
use crate::domain::id::RunId;
use crate::domain::run::{Event, Run};
use crate::store::{Command, Unit};

struct Cancel {
    engine: Engine,
    asked: Asked,
    run: RunId,
}

impl Engine {
    /// Asks for the end of a run.
    pub async fn cancel(&self, asked: Asked, run: RunId) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(Cancel { engine: self.clone(), asked, run }).await
    }

    /// The same within the unit of another command, which has been allowed to.
    pub(super) async fn cancel_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        run: RunId,
    ) -> Result<Answer, Refusal> {
        Cancel { engine: self.clone(), asked, run }.run(unit).await
    }
}

impl Engine {
    /// Writes a run that was asked to end, and closes what it had not sent yet when it has ended with that.
    pub(super) async fn write_cancelled(
        &self,
        unit: &mut Unit<'_>,
        run: &mut Run,
        before: &Run,
    ) -> Result<(), Refusal> {
        self.write_run(unit, run, None).await?;
        if run.verdict().is_some() {
            close_unsent(unit, before).await?;
            self.look_after(unit, run).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Command for Cancel {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let missing = || Refusal::NotFound { what: "run", name: self.run.to_string() };
        let run = unit.run(self.run).await?.ok_or_else(missing)?;
        let (server, before) = (run.server, run.clone());
        let now = unit.now();
        let mut run = run.apply(Event::CancelRequested, now, self.engine.timings()).map_err(|_| {
            Refusal::not_now(format!("run {} has completed already: there is nothing to cancel", self.run))
        })?;
        self.engine.write_cancelled(unit, &mut run, &before).await?;
        let answer = Engine::answer(None, &run);
        self.asked.keep(unit, &answer, self.run.to_string()).await?;
        unit.call(server);
        Ok(answer)
    }
}
