//! Remove: `removing` at once (P8). A run that is still queued is cancelled in the same transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::accept::{self, Work};
use super::titles::OF_A_PROBE;
use super::told::told;
use super::{Answer, Asked, Engine, Planned, Refusal, targets};
use crate::catalog::{Definition, Given};
use crate::domain::consequence;
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::{Resource, at_accept};
use crate::domain::run::{Event, Run, RunState};
use crate::domain::turn::Turn;
use crate::store::{Command, Unit, Wants};

/// `dry`: it is checked and planned like any other, and stores nothing.
struct Remove {
    engine: Engine,
    asked: Asked,
    resource: String,
    parameters: Params,
    turn: Turn,
    dry: bool,
}

impl Engine {
    /// Takes a resource off its server. `parameters`: what the removal of its package takes.
    pub async fn remove(
        &self,
        asked: Asked,
        resource: String,
        parameters: Params,
        turn: Turn,
    ) -> Result<Answer, Refusal> {
        asked.check()?;
        accept::check_values(&parameters, &BTreeMap::new())?;
        let command = Remove { engine: self.clone(), asked, resource, parameters, turn, dry: false };
        self.writer().commit(command).await
    }

    /// Takes a resource off its server, within the unit of another command.
    pub(super) async fn remove_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        resource: String,
        parameters: Params,
        turn: Turn,
    ) -> Result<Answer, Refusal> {
        accept::check_values(&parameters, &BTreeMap::new())?;
        Remove { engine: self.clone(), asked, resource, parameters, turn, dry: false }.run(unit).await
    }

    /// Checks and plans a removal; stores nothing.
    pub async fn plan_remove(
        &self,
        asked: Asked,
        resource: String,
        parameters: Params,
        turn: Turn,
    ) -> Result<Answer, Refusal> {
        accept::check_values(&parameters, &BTreeMap::new())?;
        let command = Remove { engine: self.clone(), asked, resource, parameters, turn, dry: true };
        self.writer().commit(command).await
    }
}

#[async_trait]
impl Command for Remove {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
        wants.resource(&self.resource);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if !self.dry
            && let Some(answer) = self.asked.recall(unit).await?
        {
            return Ok(answer);
        }
        let mut resource = targets::find_resource(unit, &self.resource).await?;
        // An update that is still queued is cancelled.
        let before = resource.clone().before_update();
        let definition = self.definition(unit, &before).await?;
        let operation = Operation::Remove;
        let given = definition.check_given(&operation, &self.parameters).map_err(Refusal::Invalid)?;
        let plan = accept::plan(&definition, &operation, &before, &given)?;
        self.engine.check_queue(unit, resource.server, &resource.server_name).await?;
        self.engine.check_window(unit, resource.server, &plan, self.turn).await?;
        self.engine.check_dependents(unit.db().await?, &resource).await?;
        if let Some(open) = resource.open_run {
            resource = self.cancel_queued(unit, open, resource).await?;
        }
        let earlier = resource.status;
        resource.status = at_accept(&operation, earlier).map_err(|e| Refusal::not_now(e.to_string()))?;
        if !resource.ours {
            let how = (earlier, &*definition);
            let run = self.engine.forgetting(unit, &resource, how, self.turn, &self.asked);
            if !self.dry {
                return self.store(unit, resource, run, String::new()).await;
            }
            // It waits for nothing, and looks.
            let plan = Planned { position: 1, steps: vec![OF_A_PROBE.to_owned()], ..Planned::default() };
            return Ok(Answer { plan: Some(plan), ..Engine::answer(Some(&resource), &run) });
        }
        let work = Work { operation, definition, plan, given, retry_of: None, turn: self.turn };
        if self.dry {
            return self.engine.planned(unit, vec![(resource, work)], &self.asked).await;
        }
        let run = self.engine.new_resource_run(unit, &resource, earlier, &work, &self.asked);
        let detail = told(&resource, &work);
        self.store(unit, resource, run, detail).await
    }
}

impl Remove {
    async fn store(
        &self,
        unit: &mut Unit<'_>,
        mut resource: Resource,
        mut run: Run,
        detail: String,
    ) -> Result<Answer, Refusal> {
        resource.open_run = Some(run.id);
        unit.update_resource(&mut resource).await?;
        unit.insert_run(&mut run).await?;

        let answer = Engine::answer(Some(&resource), &run);
        let object = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
        self.asked.keep_with(unit, &answer, object, detail).await?;
        unit.call(resource.server);
        Ok(answer)
    }

    /// The newest definition if the resource's parameters still fit it, else the one that it was applied with.
    async fn definition(
        &self,
        unit: &mut Unit<'_>,
        resource: &Resource,
    ) -> Result<std::sync::Arc<Definition>, Refusal> {
        let newest = self.engine.definition_for(unit, resource).await?;
        let Some(applied) = &resource.applied else { return Ok(newest) };
        let given = Given::Update { current: &resource.desired, current_secrets: &resource.secrets };
        let fits = newest.check(&resource.desired, &BTreeMap::new(), given).is_ok()
            && newest.operations.contains_key("remove");
        if fits {
            Ok(newest)
        } else {
            self.engine.definition(unit.db().await?, &resource.package, &applied.digest).await
        }
    }

    async fn cancel_queued(
        &self,
        unit: &mut Unit<'_>,
        open: crate::domain::id::RunId,
        resource: Resource,
    ) -> Result<Resource, Refusal> {
        let run = unit.run(open).await?.ok_or(Refusal::NotFound { what: "run", name: open.to_string() })?;
        if !matches!(run.state, RunState::Queued { .. }) {
            return Err(Refusal::busy(open));
        }
        let now = unit.now();
        let mut run = run
            .apply(Event::CancelRequested, now, self.engine.timings())
            .map_err(|e| Refusal::Internal(e.to_string()))?;
        if self.dry {
            let (consequence::After::Same(resource)
            | consequence::After::Changed(resource)
            | consequence::After::Gone(resource)) = consequence::for_resource(&run, resource);
            return Ok(resource);
        }
        let after = self.engine.write_run(unit, &mut run, Some(resource)).await?;
        after.ok_or_else(|| Refusal::Internal("a cancelled run took its resource with it".to_owned()))
    }
}
