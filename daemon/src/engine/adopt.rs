//! Adopt: a record of what is on a server already. The record comes first; what makes it `active` is the proof that the package declares for
//! its install, by a probe. Nothing on the server is changed.

use async_trait::async_trait;

use super::accept::{self, NewRun};
use super::install::check_name;
use super::requires::path_of;
use super::{Answer, Asked, Engine, Install, Refusal, targets};
use crate::catalog::{Definition, Given};
use crate::domain::operation::Operation;
use crate::domain::resource::{Presence, Resource, ResourceStatus};
use crate::domain::run::{Run, Subject};
use crate::domain::turn::Turn;
use crate::store::{Command, Unit, Wants};

struct Adopt {
    engine: Engine,
    asked: Asked,
    ask: Install,
}

impl Engine {
    /// Registers what is on a server already. `ask`: as an install of it would be asked for.
    pub async fn adopt(&self, asked: Asked, ask: Install) -> Result<Answer, Refusal> {
        asked.check()?;
        ask.check()?;
        self.writer().commit(Adopt { engine: self.clone(), asked, ask }).await
    }

    /// The run that proves an adoption, or does not.
    pub(super) fn adoption(
        &self,
        unit: &Unit<'_>,
        resource: &Resource,
        definition: &Definition,
        (earlier, turn): (ResourceStatus, Turn),
        asked: &Asked,
    ) -> Result<Run, Refusal> {
        let name = &definition.name;
        let adoptable = definition.shown().is_some_and(|shown| shown.state == Presence::Present);
        let install = definition.operations.get("install");
        let install = install.filter(|_| adoptable && definition.probe.is_some()).ok_or_else(|| {
            Refusal::not_now(format!(
                "the package `{name}` does not say what proves that it is there, so nothing of it can be adopted"
            ))
        })?;
        let subject = Subject::Resource {
            id: resource.id,
            name: resource.name.clone(),
            package: resource.package.clone(),
            digest: definition.digest.clone(),
            earlier,
            declared: install.declared,
        };
        let (server, server_name) = (resource.server, &resource.server_name);
        let new = self.reading(subject, server, server_name, Operation::Adopt, &asked.principal);
        Ok(self.new_run(unit, NewRun { turn, ..new }))
    }

    /// The run that ends the record of an adoption that was never proven: it looks, and touches nothing.
    pub(super) fn forgetting(
        &self,
        unit: &Unit<'_>,
        resource: &Resource,
        (earlier, definition): (ResourceStatus, &Definition),
        turn: Turn,
        asked: &Asked,
    ) -> Run {
        let subject = super::probe::looking_at(resource, &definition.digest);
        let subject = match subject {
            Subject::Resource { id, name, package, digest, declared, .. } => {
                Subject::Resource { id, name, package, digest, earlier, declared }
            }
            Subject::Server => Subject::Server,
        };
        let (server, server_name) = (resource.server, &resource.server_name);
        let new = self.reading(subject, server, server_name, Operation::Remove, &asked.principal);
        self.new_run(unit, NewRun { turn, ..new })
    }
}

#[async_trait]
impl Command for Adopt {
    type Answer = Answer;
    type Refusal = Refusal;

    fn wants(&self, wants: &mut Wants) {
        self.asked.wants(wants);
        wants.path(&self.ask.server, &self.ask.package, self.ask.resource_name());
    }

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        let (ask, engine) = (&self.ask, &self.engine);
        let server = targets::find_server(unit, &ask.server).await?;
        let definition = engine.package(&ask.package)?;
        let desired =
            definition.check(&ask.parameters, &ask.secrets, Given::Install).map_err(Refusal::Invalid)?;
        let name = ask.resource_name().to_owned();
        let resource = engine.new_resource(&server, &definition, name, desired, unit.now());
        let secrets = ask.secrets.keys().cloned().collect();
        let mut resource = Resource { ours: false, secrets, ..resource };
        engine.check_queue(unit, server.id, &server.name).await?;
        check_name(unit, &resource).await?;
        accept::check_keys(unit, &definition, &resource).await?;
        let how = (ResourceStatus::Pending, ask.turn);
        let mut run = engine.adoption(unit, &resource, &definition, how, &self.asked)?;

        resource.open_run = Some(run.id);
        unit.insert_resource(&mut resource).await?;
        accept::take_keys(unit, &definition, &resource).await?;
        engine.put_secrets(unit, &resource.id.to_string(), &ask.secrets).await?;
        unit.insert_run(&mut run).await?;
        let answer = Engine::answer(Some(&resource), &run);
        let object = path_of(&resource);
        self.asked.keep(unit, &answer, object).await?;
        unit.call(server.id);
        Ok(answer)
    }
}
