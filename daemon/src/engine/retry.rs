//! Retry: the failed operation of a `failed` resource again, as a new run on the same record.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::accept::{self, Work};
use super::told::told;
use super::{Answer, Asked, Engine, Refusal, targets};
use crate::catalog::{Definition, Given};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::{Resource, ResourceStatus};
use crate::domain::run::Run;
use crate::domain::turn::Turn;
use crate::store::{Command, Unit, Wants};

/// How many unsuccessful changes are looked through for the one that left the resource `failed`.
const LOOKED_AT_MAX: i64 = 20;

struct Retry {
    engine: Engine,
    asked: Asked,
    resource: String,
    /// Values that take the place of those that it failed with.
    set: Params,
    turn: Turn,
}

impl Engine {
    /// Tries again what failed.
    pub async fn retry(&self, asked: Asked, resource: String, turn: Turn) -> Result<Answer, Refusal> {
        asked.check()?;
        let command = Retry { engine: self.clone(), asked, resource, set: Params::new(), turn };
        self.writer().commit(command).await
    }

    /// The same within the unit of another command, which has been allowed to, with some other values.
    pub(super) async fn retry_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        resource: String,
        set: Params,
        turn: Turn,
    ) -> Result<Answer, Refusal> {
        Retry { engine: self.clone(), asked, resource, set, turn }.run(unit).await
    }
}

#[async_trait]
impl Command for Retry {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
        wants.resource(&self.resource);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let mut resource = targets::find_resource(unit, &self.resource).await?;
        if let Some(run) = resource.open_run {
            return Err(Refusal::busy(run));
        }
        if resource.status != ResourceStatus::Failed {
            let message = format!("only a failed resource can be retried; this one is `{}`", resource.status);
            return Err(Refusal::not_now(message));
        }
        let changes = unit.db().await?.failed_changes(resource.id, LOOKED_AT_MAX).await?;
        let failed = changes.into_iter().find(Run::failed_its_resource);
        let first = if resource.ours { Operation::Install } else { Operation::Adopt };
        let operation = failed.as_ref().map_or(first, |run| run.operation.clone());
        self.engine.check_queue(unit, resource.server, &resource.server_name).await?;
        let definition = self.engine.definition_for(unit, &resource).await?;
        self.give(unit, &definition, &mut resource).await?;
        if operation == Operation::Adopt {
            let how = (ResourceStatus::Failed, self.turn);
            let run = self.engine.adoption(unit, &resource, &definition, how, &self.asked)?;
            let run = Run { retry_of: failed.map(|run| run.id), ..run };
            return self.store(unit, resource, &definition, run, String::new()).await;
        }
        self.engine.check_fit(unit, &definition, &operation, resource.server).await?;
        let priority = self.turn.priority;
        self.engine.check_requirements(unit, &definition, &operation, &resource, priority).await?;
        let given = Params::new();
        let plan = accept::plan(&definition, &operation, &resource, &given)?;
        self.engine.check_window(unit, resource.server, &plan, self.turn).await?;
        let (retry_of, turn) = (failed.map(|run| run.id), self.turn);
        let work = Work { operation, definition, plan, given, retry_of, turn };
        let run = self.engine.new_resource_run(unit, &resource, ResourceStatus::Failed, &work, &self.asked);
        let detail = told(&resource, &work);
        let definition = Arc::clone(&work.definition);
        self.store(unit, resource, &definition, run, detail).await
    }
}

impl Retry {
    /// Gives the resource the other values.
    async fn give(
        &self,
        unit: &mut Unit<'_>,
        definition: &Definition,
        resource: &mut Resource,
    ) -> Result<(), Refusal> {
        if self.set.is_empty() {
            return Ok(());
        }
        let given = Given::Update { current: &resource.desired, current_secrets: &resource.secrets };
        resource.desired = definition.check(&self.set, &BTreeMap::new(), given).map_err(Refusal::Invalid)?;
        accept::check_keys(unit, definition, resource).await
    }

    async fn store(
        &self,
        unit: &mut Unit<'_>,
        mut resource: Resource,
        definition: &Definition,
        mut run: Run,
        detail: String,
    ) -> Result<Answer, Refusal> {
        resource.status = ResourceStatus::Pending;
        resource.open_run = Some(run.id);
        unit.update_resource(&mut resource).await?;
        if !self.set.is_empty() {
            accept::take_keys(unit, definition, &resource).await?;
        }
        unit.insert_run(&mut run).await?;

        let answer = Engine::answer(Some(&resource), &run);
        let object = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
        self.asked.keep_with(unit, &answer, object, detail).await?;
        unit.call(resource.server);
        Ok(answer)
    }
}
