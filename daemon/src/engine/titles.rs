//! The milestones of a run, known before it starts: what people see as "3 of 7".

use super::{Engine, Refusal};
use crate::domain::operation::Operation;
use crate::domain::params::together;
use crate::domain::run::{Run, Subject};

/// The one milestone of first contact with a server, and of a look at it.
pub const OF_A_MEETING: &str = "Connect and look around";
/// The one milestone of a probe of a resource.
pub const OF_A_PROBE: &str = "Look at what is there";

impl Engine {
    /// Titles of all steps of a run, in order: planned from its definition and what its resource asks for now. When the resource is
    /// gone, the steps that were started are all that is known.
    pub async fn step_titles(&self, run: &Run) -> Result<Vec<String>, Refusal> {
        let Subject::Resource { id, name, package, digest, .. } = &run.subject else {
            return Ok(vec![OF_A_MEETING.to_owned()]);
        };
        if !run.has_steps() && !matches!(run.operation, Operation::Own(_)) {
            return Ok(vec![OF_A_PROBE.to_owned()]);
        }
        let mut reader = self.store().read().await?;
        let mut db = reader.db();
        let Some(resource) = db.resource(*id).await? else {
            let mut steps = db.steps(run.id).await?;
            steps.sort_by_key(|step| step.id.step);
            steps.dedup_by_key(|step| step.id.step);
            return Ok(steps.into_iter().map(|step| step.title).collect());
        };
        let definition = self.definition(&mut db, package, digest).await?;
        let applied = resource.applied.as_ref().map(|a| &a.params);
        let plan = definition
            .plan(&run.operation, name, &together(&resource.desired, &run.parameters), applied)
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        Ok(plan.steps.into_iter().map(|step| step.title).collect())
    }
}
