//! Frees a lane from steps that are not proven to have ended: an operator knows better. The server has yet to confirm it; the lane's next
//! owner asks it to, before anything else starts there.

use async_trait::async_trait;

use super::{Answer, Asked, Engine, Refusal, targets, valid};
use crate::domain::run::Run;
use crate::domain::server::Server;
use crate::domain::waiting::WaitReason;
use crate::store::rows::ServerRow;
use crate::store::{Command, Unit};

struct UnlockServer {
    asked: Asked,
    server: String,
    reason: String,
}

#[async_trait]
impl Command for UnlockServer {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let server = targets::find_server(unit, &self.server).await?;
        let db = unit.db().await?;
        let stuck = db.running(server.id).await?.into_iter().find(is_stuck).and_then(|run| run.live_step());
        let mut ids: Vec<String> =
            db.unresolved(server.id).await?.into_iter().map(|row| row.step_id).collect();
        if ids.is_empty() && stuck.is_none() {
            return Err(nothing_to_unlock(&server));
        }
        if let Some(step) = stuck {
            unit.add_unresolved(server.id, step, "its processes live on without a supervisor").await?;
            ids.push(step.to_string());
        }
        let epoch = unit.force_lane(server.id).await?;
        unit.adopt_running(server.id, epoch).await?;
        let answer = Answer { server: Some(ServerRow::from(&server)), ids, ..Answer::default() };
        self.asked.keep_with(unit, &answer, server.name.clone(), self.reason.clone()).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

/// Its step lives on, and the server cannot end it.
fn is_stuck(run: &Run) -> bool {
    run.exclusive && run.waiting().is_some_and(|waiting| waiting.reason == WaitReason::Unresolved)
}

fn nothing_to_unlock(server: &Server) -> Refusal {
    Refusal::not_now(format!(
        "nothing holds the lane of {0}: no step there is without a proven end. A run in progress is ended by \
         `settlectl run cancel` (settlectl run list --server {0})",
        server.name
    ))
}

impl Engine {
    /// Gives up the steps that hold a server's lane without a proof of their end, and takes the lane from whoever has it.
    pub async fn unlock_server(
        &self,
        asked: Asked,
        server: String,
        reason: String,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        valid::reason(&reason).map_err(|message| Refusal::field("reason", message))?;
        let command = UnlockServer { asked, server, reason };
        self.writer().commit(command).await
    }
}
