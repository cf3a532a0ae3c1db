//! Update, pause, resume and a package's own operations: a run on a resource that is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::accept::{self, Work};
use super::told::told;
use super::{Answer, Asked, Engine, Refusal, targets};
use crate::catalog::{Definition, Given};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::{Former, Resource, ResourceStatus, at_accept};
use crate::domain::turn::Turn;
use crate::store::{Command, Unit, Wants};

/// Asks for an operation on a resource.
#[derive(Debug, Clone)]
pub struct Operate {
    /// Id or SERVER/PACKAGE/NAME.
    pub resource: String,
    /// `update`, `pause`, `resume`, or the package's own.
    pub operation: Operation,
    /// Of an update: new values. Of an own operation: what it takes for this run.
    pub parameters: Params,
    /// New secrets; only for an update.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// How the run waits for its turn.
    pub turn: Turn,
}

/// `dry`: it is checked and planned like any other, and stores nothing.
struct OperateCommand {
    engine: Engine,
    asked: Asked,
    ask: Operate,
    dry: bool,
}

impl Engine {
    /// Runs an operation on a resource.
    pub async fn operate(&self, asked: Asked, ask: Operate) -> Result<Answer, Refusal> {
        asked.check()?;
        self.command_operation(asked, ask, false).await
    }

    /// Checks and plans an operation on a resource; stores nothing.
    pub async fn plan_operate(&self, asked: Asked, ask: Operate) -> Result<Answer, Refusal> {
        self.command_operation(asked, ask, true).await
    }

    async fn command_operation(&self, asked: Asked, ask: Operate, dry: bool) -> Result<Answer, Refusal> {
        accept::check_values(&ask.parameters, &ask.secrets)?;
        if let Operation::Install | Operation::Remove | Operation::Probe | Operation::Register = ask.operation
        {
            return Err(Refusal::field("operation", format!("`{}` has a method of its own", ask.operation)));
        }
        self.writer().commit(OperateCommand { engine: self.clone(), asked, ask, dry }).await
    }

    /// Runs an operation within the unit of another command. It has been checked that the operation has no method of its own.
    pub(super) async fn operate_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        ask: Operate,
    ) -> Result<Answer, Refusal> {
        accept::check_values(&ask.parameters, &ask.secrets)?;
        OperateCommand { engine: self.clone(), asked, ask, dry: false }.run(unit).await
    }

    /// The newest definition; when its package is not loaded any more, the one that the resource was applied with, or was to be.
    pub(super) async fn definition_for(
        &self,
        unit: &mut Unit<'_>,
        resource: &Resource,
    ) -> Result<Arc<Definition>, Refusal> {
        if let Some(newest) = self.catalog().get(&resource.package) {
            return Ok(newest);
        }
        let db = unit.db().await?;
        let digest = match &resource.applied {
            Some(applied) => Some(applied.digest.clone()),
            None => db.last_digest(resource.id).await?,
        };
        let digest =
            digest.ok_or_else(|| Refusal::NotFound { what: "package", name: resource.package.clone() })?;
        self.definition(db, &resource.package, &digest).await
    }
}

#[async_trait]
impl Command for OperateCommand {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
        wants.resource(&self.ask.resource);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if !self.dry
            && let Some(answer) = self.asked.recall(unit).await?
        {
            return Ok(answer);
        }
        let mut resource = targets::find_resource(unit, &self.ask.resource).await?;
        let operation = self.ask.operation.clone();
        let definition = self.engine.definition_for(unit, &resource).await?;
        if !accept::offered(&definition, &operation)?.exclusive {
            return self.look(unit, resource, definition).await;
        }
        if let Some(run) = resource.open_run {
            return Err(Refusal::busy(run));
        }
        let earlier = resource.status;
        resource.status = at_accept(&operation, earlier).map_err(|e| Refusal::not_now(e.to_string()))?;
        self.engine.check_fit(unit, &definition, &operation, resource.server).await?;
        self.engine.check_queue(unit, resource.server, &resource.server_name).await?;

        let given = if operation == Operation::Update {
            self.new_parameters(&definition, &mut resource)?;
            accept::check_keys(unit, &definition, &resource).await?;
            Params::new()
        } else {
            definition.check_given(&operation, &self.ask.parameters).map_err(Refusal::Invalid)?
        };
        let priority = self.ask.turn.priority;
        self.engine.check_requirements(unit, &definition, &operation, &resource, priority).await?;
        let plan = accept::plan(&definition, &operation, &resource, &given)?;
        self.engine.check_window(unit, resource.server, &plan, self.ask.turn).await?;
        let work = Work { operation, definition, plan, given, retry_of: None, turn: self.ask.turn };
        if self.dry {
            return self.engine.planned(unit, vec![(resource, work)], &self.asked).await;
        }
        self.store(unit, resource, earlier, work).await
    }
}

impl OperateCommand {
    /// An own operation that only looks: beside the lane, in whatever status the resource is and stays.
    async fn look(
        &self,
        unit: &mut Unit<'_>,
        resource: Resource,
        definition: Arc<Definition>,
    ) -> Result<Answer, Refusal> {
        let operation = self.ask.operation.clone();
        self.engine.check_fit(unit, &definition, &operation, resource.server).await?;
        self.engine.check_queue(unit, resource.server, &resource.server_name).await?;
        let given = definition.check_given(&operation, &self.ask.parameters).map_err(Refusal::Invalid)?;
        let plan = accept::plan(&definition, &operation, &resource, &given)?;
        let work = Work { operation, definition, plan, given, retry_of: None, turn: self.ask.turn };
        if self.dry {
            return self.engine.planned(unit, vec![(resource, work)], &self.asked).await;
        }
        let earlier = resource.status;
        self.store(unit, resource, earlier, work).await
    }

    async fn store(
        &self,
        unit: &mut Unit<'_>,
        mut resource: Resource,
        earlier: ResourceStatus,
        work: Work,
    ) -> Result<Answer, Refusal> {
        let mut run = self.engine.new_resource_run(unit, &resource, earlier, &work, &self.asked);
        if run.exclusive {
            resource.open_run = Some(run.id);
            unit.update_resource(&mut resource).await?;
        }
        if work.operation == Operation::Update {
            // What is there may keep its present values for a while: they are let go when the update has succeeded.
            accept::take_keys(unit, &work.definition, &resource).await?;
            let owner = resource.id.to_string();
            for name in self.ask.secrets.keys() {
                unit.keep_former_secret(&owner, name).await?;
            }
            self.engine.put_secrets(unit, &owner, &self.ask.secrets).await?;
        }
        unit.insert_run(&mut run).await?;

        let answer = Engine::answer(Some(&resource), &run);
        let object = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
        self.asked.keep_with(unit, &answer, object, told(&resource, &work)).await?;
        unit.call(resource.server);
        Ok(answer)
    }

    fn new_parameters(&self, definition: &Definition, resource: &mut Resource) -> Result<(), Refusal> {
        let given = Given::Update { current: &resource.desired, current_secrets: &resource.secrets };
        let former = Former { desired: resource.desired.clone(), secrets: resource.secrets.clone() };
        let desired =
            definition.check(&self.ask.parameters, &self.ask.secrets, given).map_err(Refusal::Invalid)?;
        resource.desired = desired;
        resource.former = Some(former);
        for name in self.ask.secrets.keys() {
            if !resource.secrets.contains(name) {
                resource.secrets.push(name.clone());
            }
        }
        Ok(())
    }
}
