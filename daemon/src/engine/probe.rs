//! Probe: a read-only run beside the lane, of a resource or of a server.

use std::sync::Arc;

use async_trait::async_trait;

use super::accept::NewRun;
use super::{Answer, Asked, Engine, Refusal, targets};
use crate::auth::SETTLED;
use crate::catalog::Definition;
use crate::domain::id::{RunId, ServerId};
use crate::domain::operation::Operation;
use crate::domain::params::Params;
use crate::domain::resource::{Declared, Resource};
use crate::domain::run::{Run, Subject};
use crate::domain::turn::Turn;
use crate::domain::verdict::{Outcome, Reason};
use crate::store::rows::ServerRow;
use crate::store::{Command, StoreError, Unit};

/// What to look at.
#[derive(Debug, Clone)]
enum Whom {
    Resource(String),
    Server(String),
}

struct Probe {
    engine: Engine,
    asked: Asked,
    whom: Whom,
    /// What its script is told by whoever asks.
    told: Params,
}

impl Engine {
    /// Asks a server what there is of a resource.
    pub async fn probe_resource(&self, asked: Asked, resource: String) -> Result<Answer, Refusal> {
        self.probe(asked, Whom::Resource(resource)).await
    }

    /// Asks a server how it is.
    pub async fn probe_server(&self, asked: Asked, server: String) -> Result<Answer, Refusal> {
        self.probe(asked, Whom::Server(server)).await
    }

    /// Asks a server what there is of a resource, within the unit of another command.
    pub(super) async fn probe_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        resource: String,
    ) -> Result<Answer, Refusal> {
        self.probe_told_within(unit, asked, resource, Params::new()).await
    }

    /// The same; its script is told this, and may answer.
    pub(super) async fn probe_told_within(
        &self,
        unit: &mut Unit<'_>,
        asked: Asked,
        resource: String,
        told: Params,
    ) -> Result<Answer, Refusal> {
        Probe { engine: self.clone(), asked, whom: Whom::Resource(resource), told }.run(unit).await
    }

    async fn probe(&self, asked: Asked, whom: Whom) -> Result<Answer, Refusal> {
        asked.check()?;
        self.writer().commit(Probe { engine: self.clone(), asked, whom, told: Params::new() }).await
    }
}

#[async_trait]
impl Command for Probe {
    type Answer = Answer;
    type Refusal = Refusal;

    async fn run(&self, unit: &mut Unit<'_>) -> Result<Self::Answer, Refusal> {
        if let Some(answer) = self.asked.recall(unit).await? {
            return Ok(answer);
        }
        match &self.whom {
            Whom::Resource(name) => self.of_resource(unit, name).await,
            Whom::Server(name) => self.of_server(unit, name).await,
        }
    }
}

impl Probe {
    async fn of_resource(&self, unit: &mut Unit<'_>, name: &str) -> Result<Answer, Refusal> {
        let resource = targets::find_resource(unit, name).await?;
        let definition = self.engine.definition_to_look_by(unit, &resource).await?;
        if definition.probe.is_none() {
            return Err(Refusal::not_now(format!(
                "the package `{}` does not say how to probe it",
                definition.name
            )));
        }
        self.engine.check_queue(unit, resource.server, &resource.server_name).await?;
        let subject = looking_at(&resource, &definition.digest);
        let new = self.engine.reading(
            subject,
            resource.server,
            &resource.server_name,
            Operation::Probe,
            &self.asked.principal,
        );
        let mut run = self.engine.new_run(unit, NewRun { parameters: self.told.clone(), ..new });
        unit.insert_run(&mut run).await?;
        let answer = Engine::answer(Some(&resource), &run);
        let object = format!("{}/{}/{}", resource.server_name, resource.package, resource.name);
        self.asked.keep(unit, &answer, object).await?;
        unit.call(resource.server);
        Ok(answer)
    }

    async fn of_server(&self, unit: &mut Unit<'_>, name: &str) -> Result<Answer, Refusal> {
        let server = targets::find_server(unit, name).await?;
        self.engine.check_queue(unit, server.id, &server.name).await?;
        let new = self.engine.reading(
            Subject::Server,
            server.id,
            &server.name,
            Operation::Probe,
            &self.asked.principal,
        );
        let mut run = self.engine.new_run(unit, new);
        unit.insert_run(&mut run).await?;
        let mut answer = Engine::answer(None, &run);
        answer.server = Some(ServerRow::from(&server));
        self.asked.keep(unit, &answer, server.name.clone()).await?;
        unit.call(server.id);
        Ok(answer)
    }
}

/// A look at a resource leaves it as it is.
pub(super) fn looking_at(resource: &Resource, digest: &str) -> Subject {
    let status = resource.status;
    Subject::Resource {
        id: resource.id,
        name: resource.name.clone(),
        package: resource.package.clone(),
        digest: digest.to_owned(),
        earlier: status,
        declared: Declared { in_progress: status, success: status },
    }
}

/// A change that touched the server and did not succeed.
fn leaves_doubt(run: &Run) -> bool {
    let failed = run.verdict().is_some_and(|verdict| verdict.outcome != Outcome::Succeeded);
    failed && run.payload && run.exclusive
}

/// A look of our own that came to its limit, or to a server that refused, before it was answered.
fn is_unanswered_look(run: &Run) -> bool {
    let unanswered = |reason| {
        matches!(reason, Reason::Unreachable | Reason::WaitedTooLong | Reason::NeverStarted | Reason::Refused)
    };
    is_own_look(run) && run.verdict().and_then(|verdict| verdict.reason).is_some_and(unanswered)
}

/// Nobody asked for it: it followed a change by itself.
pub(super) fn is_own_look(run: &Run) -> bool {
    !run.exclusive && run.operation == Operation::Probe && run.principal == SETTLED
}

impl Engine {
    /// The definition whose probe looks at a resource: the one that was applied, since its proof says what is to be seen.
    pub(super) async fn definition_to_look_by(
        &self,
        unit: &mut Unit<'_>,
        resource: &Resource,
    ) -> Result<Arc<Definition>, Refusal> {
        if let Some(applied) = resource.at_rest() {
            match self.definition(unit.db().await?, &resource.package, &applied.digest).await {
                Ok(definition) => return Ok(definition),
                Err(Refusal::Store(error)) => return Err(error.into()),
                // A daemon that does not understand it any more looks by what it has.
                Err(_) => {}
            }
        }
        self.definition_for(unit, resource).await
    }

    /// Queues a look at what is there, in the same transaction, after a change that touched the server and did not succeed, and after such
    /// a look that was not answered: it waits until the server is back, however long that takes, and whatever happens to this daemon.
    pub(super) async fn look_after(&self, unit: &mut Unit<'_>, run: &Run) -> Result<(), StoreError> {
        let Subject::Resource { id, package, digest, .. } = &run.subject else { return Ok(()) };
        if !(leaves_doubt(run) || is_unanswered_look(run)) {
            return Ok(());
        }
        let Some(resource) = unit.resource(*id).await? else { return Ok(()) };
        let definition = match self.definition(unit.db().await?, package, digest).await {
            Ok(definition) => definition,
            Err(Refusal::Store(error)) => return Err(error),
            Err(_) => return Ok(()),
        };
        if definition.probe.is_none() {
            return Ok(());
        }
        let subject = looking_at(&resource, digest);
        let new = self.reading(subject, run.server, &run.server_name, Operation::Probe, SETTLED);
        let mut look = self.new_run(unit, new);
        unit.call(run.server);
        unit.insert_run(&mut look).await
    }

    /// A read-only run: one attempt, beside the lane.
    pub(super) fn reading<'a>(
        &self,
        subject: Subject,
        server: ServerId,
        server_name: &'a str,
        operation: Operation,
        principal: &'a str,
    ) -> NewRun<'a> {
        NewRun {
            id: RunId(self.clock().ulid()),
            server,
            server_name,
            subject,
            operation,
            exclusive: false,
            attempts_max: Some(1),
            principal,
            retry_of: None,
            kill_grace: None,
            turn: Turn::default(),
            expected_runtime: None,
            parameters: Params::new(),
        }
    }
}
