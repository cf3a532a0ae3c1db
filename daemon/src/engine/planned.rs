//! Dry runs: a command is loaded, checked and planned as any other, and ends before its first write.

use super::accept::Work;
use super::{Answer, Asked, Engine, Refusal};
use crate::domain::resource::Resource;
use crate::store::Unit;

/// What a dry run tells beside the objects as they would be.
#[derive(Debug, Clone, Default)]
pub struct Planned {
    /// The place in the lane, or among the looks beside it, that the run would have, 1 = next.
    pub position: i64,
    /// Titles of its steps.
    pub steps: Vec<String>,
    /// The same for each run in front of it that installs what it requires.
    pub required_steps: Vec<Vec<String>>,
}

impl Engine {
    /// What would come of these runs, the last of which was asked for; the others would come in front of it.
    pub(super) async fn planned(
        &self,
        unit: &mut Unit<'_>,
        mut all: Vec<(Resource, Work)>,
        asked: &Asked,
    ) -> Result<Answer, Refusal> {
        let (resource, work) =
            all.pop().ok_or_else(|| Refusal::Internal("nothing was asked for".to_owned()))?;
        let (server, exclusive, priority) = (resource.server, work.plan.exclusive, work.turn.priority);
        let ahead = unit.db().await?.queued_ahead(server, exclusive, priority, resource.id).await?;
        let position = ahead + i64::try_from(all.len()).unwrap_or(0) + 1;
        let row = |resource: &Resource, work: &Work| {
            let run = self.new_resource_run(unit, resource, resource.status, work, asked);
            Engine::answer(Some(resource), &run)
        };
        let answer = row(&resource, &work);
        let required = all.iter().filter_map(|(resource, work)| row(resource, work).run).collect();
        let required_steps = all.iter().map(|(_, work)| titles(work)).collect();
        let plan = Planned { position, steps: titles(&work), required_steps };
        Ok(Answer { required, plan: Some(plan), ..answer })
    }
}

fn titles(work: &Work) -> Vec<String> {
    work.plan.steps.iter().map(|step| step.title.clone()).collect()
}
