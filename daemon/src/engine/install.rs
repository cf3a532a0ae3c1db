//! Install: a new resource, `pending`, and its run.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::accept::{self, Work};
use super::requires::path_of;
use super::told::told;
use super::{Answer, Asked, Engine, Refusal, targets, valid};
use crate::catalog::{Definition, Given};
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
    /// Install what is required and missing in front of it.
    pub with_requirements: bool,
}

/// `dry`: it is checked and planned like any other, and stores nothing.
struct InstallCommand {
    engine: Engine,
    asked: Asked,
    ask: Install,
    id: ResourceId,
    dry: bool,
}

impl Engine {
    /// Installs a package on a server.
    pub async fn install(&self, asked: Asked, ask: Install) -> Result<Answer, Refusal> {
        asked.check()?;
        self.command_install(asked, ask, false).await
    }

    /// Checks and plans an install; stores nothing.
    pub async fn plan_install(&self, asked: Asked, ask: Install) -> Result<Answer, Refusal> {
        self.command_install(asked, ask, true).await
    }

    async fn command_install(&self, asked: Asked, ask: Install, dry: bool) -> Result<Answer, Refusal> {
        ask.check()?;
        let id = ResourceId(self.clock().ulid());
        self.writer().commit(InstallCommand { engine: self.clone(), asked, ask, id, dry }).await
    }

    /// Installs a package within the unit of another command.
    pub(super) async fn install_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        ask: Install,
    ) -> Result<Answer, Refusal> {
        ask.check()?;
        let id = ResourceId(self.clock().ulid());
        InstallCommand { engine: self.clone(), asked, ask, id, dry: false }.run(unit).await
    }

    /// A record about to be made.
    pub(super) fn new_resource(
        &self,
        server: &Server,
        definition: &Definition,
        name: String,
        desired: Params,
        now: Timestamp,
    ) -> Resource {
        Resource {
            id: ResourceId(self.clock().ulid()),
            name,
            server: server.id,
            server_name: server.name.clone(),
            package: definition.name.clone(),
            status: ResourceStatus::Pending,
            desired,
            former: None,
            applied: None,
            secrets: Vec::new(),
            outputs: Outputs::new(),
            ours: true,
            last_error: None,
            observed: None,
            open_run: None,
            created_at: now,
            updated_at: now,
            version: 1,
            seq: 0,
        }
    }

    /// The package of this name.
    pub(super) fn package(&self, name: &str) -> Result<Arc<Definition>, Refusal> {
        self.package_of("package", name)
    }

    /// The package that this field of a request names.
    pub(super) fn package_of(&self, field: &str, name: &str) -> Result<Arc<Definition>, Refusal> {
        self.catalog().get(name).ok_or_else(|| {
            let known: Vec<_> = self.catalog().iter().map(|d| d.name.clone()).collect();
            let known = known.join(", ");
            Refusal::field(field, format!("there is no package `{name}`; there are {known}"))
        })
    }
}

impl Install {
    /// The name of the resource: the package's, when none is given.
    pub(super) fn resource_name(&self) -> &str {
        if self.name.is_empty() { &self.package } else { &self.name }
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
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
        wants.path(&self.ask.server, &self.ask.package, self.ask.resource_name());
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if !self.dry
            && let Some(answer) = self.asked.recall(unit).await?
        {
            return Ok(answer);
        }
        let server = targets::find_server(unit, &self.ask.server).await?;
        let (resource, work) = self.prepare(&server, unit.now())?;
        let mut all = self.in_front(unit, &server, &resource, &work).await?;
        all.push((resource, work));
        self.engine.check_room(unit, server.id, &server.name, all.len()).await?;
        for (resource, work) in &all {
            self.engine.check_window(unit, server.id, &work.plan, work.turn).await?;
            check_name(unit, resource).await?;
            accept::check_keys(unit, &work.definition, resource).await?;
        }
        if self.dry { self.engine.planned(unit, all, &self.asked).await } else { self.store(unit, all).await }
    }
}

impl InstallCommand {
    fn prepare(&self, server: &Server, now: Timestamp) -> Result<(Resource, Work), Refusal> {
        let ask = &self.ask;
        let definition = self.engine.package(&ask.package)?;
        accept::check_server(&definition, &Operation::Install, server)?;
        let desired =
            definition.check(&ask.parameters, &ask.secrets, Given::Install).map_err(Refusal::Invalid)?;
        let name = ask.resource_name().to_owned();
        let resource = self.engine.new_resource(server, &definition, name, desired, now);
        let resource = Resource { id: self.id, secrets: ask.secrets.keys().cloned().collect(), ..resource };
        let (operation, given) = (Operation::Install, Params::new());
        let plan = accept::plan(&definition, &operation, &resource, &given)?;
        Ok((resource, Work { operation, definition, plan, given, retry_of: None, turn: ask.turn }))
    }

    /// What comes in front of it: nothing, or the installs of what it requires.
    async fn in_front(
        &self,
        unit: &mut Unit<'_>,
        server: &Server,
        resource: &Resource,
        work: &Work,
    ) -> Result<Vec<(Resource, Work)>, Refusal> {
        if self.ask.with_requirements {
            return self
                .engine
                .required_installs(unit, server, (&work.definition, resource), self.ask.turn)
                .await;
        }
        let (definition, operation) = (&work.definition, &work.operation);
        let priority = self.ask.turn.priority;
        self.engine.check_requirements(unit, definition, operation, resource, priority).await?;
        Ok(Vec::new())
    }

    /// Stores everything, in the order in which it is to run. The last is what was asked for.
    async fn store(&self, unit: &mut Unit<'_>, mut all: Vec<(Resource, Work)>) -> Result<Answer, Refusal> {
        let (resource, work) =
            all.pop().ok_or_else(|| Refusal::Internal("nothing is to be installed".to_owned()))?;
        let (object, server) = (path_of(&resource), resource.server);
        let mut required = Vec::new();
        for (resource, work) in all {
            let detail = format!("required by {object}; {}", told(&resource, &work));
            let (path, answer) = (path_of(&resource), self.put(unit, resource, &work).await?);
            self.asked.note(unit, &answer, path, detail);
            required.extend(answer.run);
        }
        let (owner, detail) = (resource.id.to_string(), told(&resource, &work));
        let answer = Answer { required, ..self.put(unit, resource, &work).await? };
        self.engine.put_secrets(unit, &owner, &self.ask.secrets).await?;
        self.asked.keep_with(unit, &answer, object, detail).await?;
        unit.call(server);
        Ok(answer)
    }

    async fn put(&self, unit: &mut Unit<'_>, mut resource: Resource, work: &Work) -> Result<Answer, Refusal> {
        let mut run =
            self.engine.new_resource_run(unit, &resource, ResourceStatus::Pending, work, &self.asked);
        resource.open_run = Some(run.id);
        unit.insert_resource(&mut resource).await?;
        accept::take_keys(unit, &work.definition, &resource).await?;
        unit.insert_run(&mut run).await?;
        Ok(Engine::answer(Some(&resource), &run))
    }
}

/// Refuses a name that is taken, and says what can be done with what is there.
pub(super) async fn check_name(unit: &mut Unit<'_>, resource: &Resource) -> Result<(), Refusal> {
    let found = unit.resource_by_path(resource.server, &resource.package, &resource.name).await?;
    let Some(found) = found else { return Ok(()) };
    let path = path_of(resource);
    let message = if found.status == ResourceStatus::Failed {
        format!("{path} is there already, and failed: try again with `settlectl retry {path}`, or remove it")
    } else {
        format!("{path} is there already: change it with `settlectl update {path}`, or give another --name")
    };
    Err(Refusal::Exists { what: "resource", id: found.id.to_string(), message })
}
