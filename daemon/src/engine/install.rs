//! Install: a new resource, `pending`, and its run.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::accept::{self, Work};
use super::{Answer, Asked, Engine, Refusal, targets, valid};
use crate::catalog::Given;
use crate::domain::id::ResourceId;
use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params};
use crate::domain::resource::{Resource, ResourceStatus};
use crate::domain::server::Server;
use crate::domain::time::Timestamp;
use crate::domain::turn::Turn;
use crate::store::{Command, Unit, Wants};

/// Asks for an install.
#[derive(Debug, Clone)]
pub struct Install {
    /// Name or id of the server.
    pub server: String,
    /// Name of the package.
    pub package: String,
    /// Name of the resource; empty means the package's.
    pub name: String,
    /// Values of parameters.
    pub parameters: Params,
    /// Values of secret parameters.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// How the run waits for its turn.
    pub turn: Turn,
}

struct InstallCommand {
    engine: Engine,
    asked: Asked,
    ask: Install,
    id: ResourceId,
}

impl Engine {
    /// Installs a package on a server.
    pub async fn install(&self, asked: Asked, ask: Install) -> Result<Answer, Refusal> {
        asked.check()?;
        ask.check()?;
        let id = ResourceId(self.clock().ulid());
        let command = InstallCommand { engine: self.clone(), asked, ask, id };
        self.writer().commit(command).await
    }

    /// Checks and plans an install; stores nothing. Answers the resource as it would be, and the titles of its steps.
    pub async fn plan_install(&self, ask: Install) -> Result<(Resource, Vec<String>), Refusal> {
        ask.check()?;
        let server = targets::find_server(&mut self.store().read().await?.db(), &ask.server).await?;
        let (resource, work) =
            self.prepare(&ask, &server, ResourceId(self.clock().ulid()), self.clock().now())?;
        Ok((resource, work.plan.steps.into_iter().map(|step| step.title).collect()))
    }

    fn prepare(
        &self,
        ask: &Install,
        server: &Server,
        id: ResourceId,
        now: Timestamp,
    ) -> Result<(Resource, Work), Refusal> {
        let definition = self.catalog().get(&ask.package).ok_or_else(|| {
            let known: Vec<_> = self.catalog().iter().map(|d| d.name.clone()).collect();
            Refusal::field(
                "package",
                format!("there is no package `{}`; there are {}", ask.package, known.join(", ")),
            )
        })?;
        accept::check_server(&definition, &Operation::Install, server)?;
        let desired =
            definition.check(&ask.parameters, &ask.secrets, Given::Install).map_err(Refusal::Invalid)?;
        let name = if ask.name.is_empty() { definition.name.clone() } else { ask.name.clone() };
        let resource = Resource {
            id,
            name,
            server: server.id,
            server_name: server.name.clone(),
            package: definition.name.clone(),
            status: ResourceStatus::Pending,
            desired,
            applied: None,
            secrets: ask.secrets.keys().cloned().collect(),
            outputs: Outputs::new(),
            last_error: None,
            observed: None,
            open_run: None,
            created_at: now,
            updated_at: now,
            version: 1,
            seq: 0,
        };
        let operation = Operation::Install;
        let plan = accept::plan(&definition, &operation, &resource)?;
        let work = Work { operation, definition, plan, retry_of: None, turn: ask.turn };
        Ok((resource, work))
    }
}

impl Install {
    fn check(&self) -> Result<(), Refusal> {
        let mut problems = valid::Problems::default();
        if self.server.is_empty() {
            problems.add("server", "is missing: give the name of a server (settlectl server list)");
        }
        if self.package.is_empty() {
            problems.add("package", "is missing: give the name of a package (settlectl package list)");
        }
        if !self.name.is_empty() {
            problems.check("name", valid::resource_name(&self.name));
        }
        problems.into_result()?;
        accept::check_values(&self.parameters, &self.secrets)
    }
}

#[async_trait]
impl Command for InstallCommand {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
        let name = if self.ask.name.is_empty() { &self.ask.package } else { &self.ask.name };
        wants.path(&self.ask.server, &self.ask.package, name);
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let server = targets::find_server(unit, &self.ask.server).await?;
        let (mut resource, work) = self.engine.prepare(&self.ask, &server, self.id, unit.now())?;
        self.engine.check_queue(unit, server.id, &server.name).await?;
        self.engine.check_window(unit, server.id, &work.plan, work.turn).await?;
        self.check_name(unit, &resource).await?;
        accept::check_keys(unit, &work.definition, &resource).await?;

        let mut run =
            self.engine.new_resource_run(unit, &resource, ResourceStatus::Pending, &work, &self.asked);
        resource.open_run = Some(run.id);
        unit.insert_resource(&mut resource).await?;
        accept::take_keys(unit, &work.definition, &resource).await?;
        self.engine.put_secrets(unit, &resource.id.to_string(), &self.ask.secrets).await?;
        unit.insert_run(&mut run).await?;

        let answer = self.engine.answer(Some(&resource), &run);
        let object = format!("{}/{}/{}", server.name, resource.package, resource.name);
        self.asked.keep(unit, &answer, self.engine.clock().ulid().to_string(), object).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

impl InstallCommand {
    /// Refuses a name that is taken, and says what can be done with what is there.
    async fn check_name(&self, unit: &mut Unit<'_>, resource: &Resource) -> Result<(), Refusal> {
        let found = unit.resource_by_path(resource.server, &resource.package, &resource.name).await?;
        let Some(found) = found else { return Ok(()) };
        let path = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
        let message = if found.status == ResourceStatus::Failed {
            format!(
                "{path} is there already, and failed: try again with `settlectl retry {path}`, or remove it"
            )
        } else {
            format!(
                "{path} is there already: change it with `settlectl update {path}`, or give another --name"
            )
        };
        Err(Refusal::Exists { what: "resource", id: found.id.to_string(), message })
    }
}
