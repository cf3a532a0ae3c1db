//! What all commands on a resource share: a new run at the end of the server's queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::probe::looking_at;
use super::{Answer, Asked, Engine, Refusal};
use crate::catalog::{Definition, OperationDef, Plan, PlanError};
use crate::domain::id::{RunId, ServerId};
use crate::domain::operation::Operation;
use crate::domain::params::{Outputs, Params, together};
use crate::domain::resource::{Resource, ResourceStatus, WHOLE_SERVER};
use crate::domain::run::{Run, RunState, Subject};
use crate::domain::server::Server;
use crate::domain::turn::Turn;
use crate::store::rows::{ResourceRow, RunRow};
use crate::store::{StoreError, Unit};

/// Most parameters and secrets together.
const VALUES_MAX: usize = 64;
/// Largest value of one parameter or secret, in bytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A run about to be accepted.
pub(super) struct NewRun<'a> {
    pub(super) id: RunId,
    pub(super) server: ServerId,
    pub(super) server_name: &'a str,
    pub(super) subject: Subject,
    pub(super) operation: Operation,
    pub(super) exclusive: bool,
    pub(super) attempts_max: Option<u32>,
    pub(super) principal: &'a str,
    pub(super) retry_of: Option<RunId>,
    pub(super) kill_grace: Option<Duration>,
    pub(super) turn: Turn,
    pub(super) expected_runtime: Option<Duration>,
    pub(super) parameters: Params,
}

impl Engine {
    pub(super) fn new_run(&self, unit: &Unit<'_>, new: NewRun<'_>) -> Run {
        let limit = new.turn.limit.unwrap_or(self.limits().queue_limit);
        Run {
            id: new.id,
            server: new.server,
            server_name: new.server_name.to_owned(),
            subject: new.subject,
            operation: new.operation,
            exclusive: new.exclusive,
            attempts_max: new.attempts_max.unwrap_or(self.limits().attempts_max),
            principal: new.principal.to_owned(),
            retry_of: new.retry_of,
            accepted_at: unit.now(),
            queue_until: unit.now() + limit,
            kill_grace: new.kill_grace.unwrap_or(self.timings().kill_grace),
            settle_margin: self.timings().settle_margin,
            wait_limit: self.limits().queue_limit,
            stale: self.limits().stale.of_run(limit, new.expected_runtime, self.limits().takeover),
            progress_at: unit.now(),
            priority: new.turn.priority,
            cancel_requested: false,
            payload: false,
            parameters: new.parameters,
            outputs: Outputs::new(),
            state: RunState::Queued { waiting: None },
            grounds: None,
            epoch: 0,
            version: 1,
            seq: 0,
        }
    }

    /// A run of a resource's operation, as planned.
    pub(super) fn new_resource_run(
        &self,
        unit: &Unit<'_>,
        resource: &Resource,
        earlier: ResourceStatus,
        work: &Work,
        asked: &Asked,
    ) -> Run {
        let digest = &work.definition.digest;
        let subject = if work.plan.exclusive {
            Subject::Resource {
                id: resource.id,
                name: resource.name.clone(),
                package: resource.package.clone(),
                digest: digest.clone(),
                earlier,
                declared: work.plan.declared,
            }
        } else {
            looking_at(resource, digest)
        };
        let new = NewRun {
            id: RunId(self.clock().ulid()),
            server: resource.server,
            server_name: &resource.server_name,
            subject,
            operation: work.operation.clone(),
            exclusive: work.plan.exclusive,
            attempts_max: work.turn.attempts.or(work.plan.attempts_max),
            principal: &asked.principal,
            retry_of: work.retry_of,
            kill_grace: Some(work.plan.kill_grace(self.timings().kill_grace)),
            turn: Turn { limit: work.turn.limit.or(work.plan.queue_limit), ..work.turn },
            expected_runtime: work.plan.expected_runtime,
            parameters: work.given.clone(),
        };
        self.new_run(unit, new)
    }

    /// Refuses one run too many on a server.
    pub(super) async fn check_queue(
        &self,
        unit: &mut Unit<'_>,
        server: ServerId,
        name: &str,
    ) -> Result<(), Refusal> {
        self.check_room(unit, server, name, 1).await
    }

    /// Refuses so many runs together, when there is no room for all of them.
    pub(super) async fn check_room(
        &self,
        unit: &mut Unit<'_>,
        server: ServerId,
        name: &str,
        runs: usize,
    ) -> Result<(), Refusal> {
        let limit = self.limits().queue_max;
        let more = i64::try_from(runs).unwrap_or(i64::MAX) - 1;
        if unit.queue_is_full(server, (limit - more).max(0)).await? {
            return Err(Refusal::Full(format!(
                "{limit} runs are queued on {name} already: wait until some have ended (settlectl run list --server {name})"
            )));
        }
        Ok(())
    }

    /// Refuses an operation that cannot work on the server of a resource.
    pub(super) async fn check_fit(
        &self,
        unit: &mut Unit<'_>,
        definition: &Definition,
        operation: &Operation,
        server: ServerId,
    ) -> Result<(), Refusal> {
        let server = unit.server(server).await?;
        server.map_or(Ok(()), |server| check_server(definition, operation, &server))
    }

    pub(super) fn answer(resource: Option<&Resource>, run: &Run) -> Answer {
        Answer { resource: resource.map(ResourceRow::from), run: Some(RunRow::new(run)), ..Answer::default() }
    }
}

/// What a run will do: the operation of a definition, planned with the parameters as they are now.
pub(super) struct Work {
    pub(super) operation: Operation,
    pub(super) definition: Arc<Definition>,
    pub(super) plan: Plan,
    /// What was given for this run alone.
    pub(super) given: Params,
    pub(super) retry_of: Option<RunId>,
    pub(super) turn: Turn,
}

/// An operation that the package has; another one is refused, in whatever status the resource is.
pub(super) fn offered<'d>(
    definition: &'d Definition,
    operation: &Operation,
) -> Result<&'d OperationDef, Refusal> {
    let found = definition.operations.get(operation.as_str());
    found.ok_or_else(|| Refusal::field("operation", definition.no_such_operation(operation).to_string()))
}

/// Plans an operation, with what is given for this run alone; a package that cannot do it is the caller's error.
pub(super) fn plan(
    definition: &Definition,
    operation: &Operation,
    resource: &Resource,
    given: &Params,
) -> Result<Plan, Refusal> {
    let applied = resource.applied.as_ref().map(|a| &a.params);
    let values = together(&resource.desired, given);
    definition.plan(operation, &resource.name, &values, applied).map_err(|error| match error {
        PlanError::NoSuchOperation { .. } => Refusal::field("operation", error.to_string()),
        PlanError::NothingToDo { .. } => Refusal::not_now(error.to_string()),
    })
}

/// Refuses what cannot work on a server, as far as it told about itself.
pub(super) fn check_server(
    definition: &Definition,
    operation: &Operation,
    server: &Server,
) -> Result<(), Refusal> {
    let Some(why) = definition.misfit(operation, &server.facts) else { return Ok(()) };
    let name = &server.name;
    Err(Refusal::not_now(format!(
        "{why}. If {name} was changed since settled looked last, let it look anew: settlectl server probe {name}"
    )))
}

/// Bounds the values of a request before anything looks at them.
pub(super) fn check_values(
    parameters: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, Vec<u8>>,
) -> Result<(), Refusal> {
    if parameters.len() + secrets.len() > VALUES_MAX {
        return Err(Refusal::field(
            "parameters",
            format!("together with secrets there may be at most {VALUES_MAX}"),
        ));
    }
    let long = |len: usize| len > VALUE_BYTES_MAX;
    let parameter = parameters.iter().find(|(_, v)| long(v.len())).map(|(k, _)| format!("parameters.{k}"));
    let secret = secrets.iter().find(|(_, v)| long(v.len())).map(|(k, _)| format!("secrets.{k}"));
    match parameter.or(secret) {
        Some(field) => Err(Refusal::field(field, format!("must have at most {VALUE_BYTES_MAX} bytes"))),
        None => Ok(()),
    }
}

/// Takes the key parameters of a resource. Whoever holds one already is named, before anything is written.
pub(super) async fn check_keys(
    unit: &mut Unit<'_>,
    definition: &Definition,
    resource: &Resource,
) -> Result<(), Refusal> {
    for (param, value) in definition.key_values(&resource.desired) {
        let holder = unit.db().await?.key_holder(resource.server, &resource.package, &param, &value).await?;
        let Some(holder) = holder.filter(|id| *id != resource.id.to_string()) else { continue };
        if param == WHOLE_SERVER {
            return Err(only_one(unit, resource, holder).await?);
        }
        let (package, server) = (&resource.package, &resource.server_name);
        return Err(Refusal::Exists {
            what: "resource",
            message: format!(
                "{param} = {value} is taken on {server} by another {package}, resource {holder}: choose another value"
            ),
            id: holder,
        });
    }
    Ok(())
}

/// Refuses a second resource of a package that a server has one of.
async fn only_one(unit: &mut Unit<'_>, resource: &Resource, holder: String) -> Result<Refusal, Refusal> {
    let (package, server) = (&resource.package, &resource.server_name);
    let found = match holder.parse() {
        Ok(id) => unit.db().await?.resource(id).await?,
        Err(_) => None,
    };
    let path = found.map_or_else(|| holder.clone(), |found| format!("{server}/{package}/{}", found.name));
    let message = format!(
        "a server has one {package} at most, and {server} has {path}: change that with `settlectl update {path}`, or remove it first"
    );
    Ok(Refusal::Exists { what: "resource", id: holder, message })
}

/// Stores the key values of a resource, after it was stored itself.
pub(super) async fn take_keys(
    unit: &mut Unit<'_>,
    definition: &Definition,
    resource: &Resource,
) -> Result<(), StoreError> {
    for (param, value) in definition.key_values(&resource.desired) {
        unit.take_key(resource, &param, &value).await?;
    }
    Ok(())
}
