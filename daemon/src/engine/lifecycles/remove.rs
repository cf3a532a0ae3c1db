//! Removes a lifecycle that nobody goes through any more. What was done stays in the log.

use async_trait::async_trait;

use super::super::{Answer, Asked, Engine, Refusal};
use crate::store::rows::LifecycleRow;
use crate::store::{Command, Unit, Wants};

struct RemoveLifecycle {
    engine: Engine,
    asked: Asked,
    code: String,
}

impl Engine {
    /// Removes a lifecycle.
    pub async fn remove_lifecycle(&self, asked: Asked, code: String) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(RemoveLifecycle { engine: self.clone(), asked, code }).await
    }
}

#[async_trait]
impl Command for RemoveLifecycle {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let db = unit.db().await?;
        let lifecycle = self.engine.lifecycle(db, &self.code).await?;
        let open: i64 = db.standing(lifecycle.id).await?.iter().map(|standing| standing.count).sum();
        if open > 0 {
            let code = &self.code;
            return Err(Refusal::not_now(format!(
                "{open} enrollments are not completed: let them come to their end, or remove them first (settlectl enrollment list \
                 --lifecycle {code}; settlectl enrollment remove ID)"
            )));
        }
        unit.delete_lifecycle(&lifecycle).await?;
        unit.delete_secrets(&lifecycle.id.to_string()).await?;
        let answer =
            Answer { lifecycle: Some(Box::new(LifecycleRow::from(&lifecycle))), ..Answer::default() };
        self.asked.keep(unit, &answer, self.code.clone()).await?;
        Ok(answer)
    }
}
